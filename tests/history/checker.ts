/**
 * Decides from histories alone whether the promises held. It knows nothing of databases.
 *
 * @module
 */
import type { HistoryEvent } from "./events.ts";
import { read, type Reading } from "./reading.ts";
import { abandoned } from "./rules/abandoned.ts";
import { exclusion } from "./rules/exclusion.ts";
import { explained } from "./rules/explained.ts";
import { falseBusy } from "./rules/false_busy.ts";
import { foreignHarm } from "./rules/foreign_harm.ts";
import { lossTold } from "./rules/loss_told.ts";
import { overtaking } from "./rules/overtaking.ts";
import { punctual } from "./rules/punctual.ts";
import { risingTokens } from "./rules/rising_tokens.ts";
import { starvation } from "./rules/starvation.ts";

/** Which promise was broken. */
export type RuleName =
  | "exclusion"
  | "rising tokens"
  | "no foreign harm"
  | "loss told"
  | "no starvation"
  | "first come"
  | "punctual"
  | "all or nothing"
  | "explained"
  | "held by no client"
  | "busy for no reason";

/** One broken promise. */
export interface Offence {
  readonly rule: RuleName;
  readonly name: string;
  /** What happened, with its operations and times. */
  readonly story: string;
}

/** What the checker shall tolerate. */
export interface Tolerance {
  /**
   * Milliseconds of its own running time that a process may need to notice and tell of a loss: a gap of more than 20 ms
   * between two turns of its event loop counts as not running, and the turn comes 10 ms later at the latest. @default 50
   */
  readonly telling?: number;
  /** Seconds that a name may be free with somebody waiting for it. @default 3 */
  readonly waiting?: number;
  /**
   * Seconds that a wait may last longer than was asked for: so long a question that is under way at its end is given
   * for its answer. @default 2
   */
  readonly lateness?: number;
  /** Seconds that the database may keep a name after the lease of its holder has expired. @default 0 */
  readonly overdue?: number;
  /** Whether a lock may also end with the connection that kept it. @default false */
  readonly sessions?: boolean;
  /** Whether a waiter may lose its place with the connection on which it listens. @default as `sessions` */
  readonly listening?: boolean;
  /** Whether a client that stands still may keep all others from writing. @default false */
  readonly blocking?: boolean;
}

/** A rule: all the ways in which a history breaks it. */
export type Rule = (reading: Reading, tolerance: Required<Tolerance>) => Offence[];

const RULES: readonly Rule[] = [
  exclusion,
  risingTokens,
  foreignHarm,
  lossTold,
  starvation,
  overtaking,
  punctual,
  explained,
  abandoned,
  falseBusy,
];

/** What the checker has found. */
export interface Verdict {
  readonly offences: readonly Offence[];
  /** How much it has looked at: a history in which nothing happened proves nothing. */
  readonly seen: {
    readonly holds: number;
    readonly operations: number;
    readonly losses: number;
    /** When each hold began. */
    readonly beginnings: readonly number[];
  };
}

/** Tries a history. */
export function check(history: readonly HistoryEvent[], tolerance: Tolerance = {}): Verdict {
  const reading = read(history);
  const { sessions = false, listening = sessions } = tolerance;
  const most = { telling: 50, waiting: 3, lateness: 2, overdue: 0 };
  const all = { ...most, blocking: false, ...tolerance, sessions, listening };
  const { holds, operations } = reading;
  const losses = holds.filter(({ told }) => told).length;
  return {
    offences: RULES.flatMap((rule) => rule(reading, all)),
    seen: {
      holds: holds.length,
      operations: operations.length,
      losses,
      beginnings: holds.map(({ begunAt }) => begunAt),
    },
  };
}

/** How many offences a report shows of each rule. */
const SHOWN = 5;

/** The verdict for people. */
export function report({ offences, seen }: Verdict): string {
  const lines = [
    `${seen.operations} operations, ${seen.holds} holds, ${seen.losses} losses: ${offences.length} offences`,
  ];
  for (const [rule, own] of Map.groupBy(offences, ({ rule }) => rule)) {
    lines.push(`${rule}: ${own.length}`, ...own.slice(0, SHOWN).map(({ name, story }) => `  ${name}: ${story}`));
  }
  return lines.join("\n");
}
