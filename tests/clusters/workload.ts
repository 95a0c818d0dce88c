/**
 * Clients of a cluster that take and hold one name while something fails, and what the history checker says of it.
 *
 * @module
 */
import { type Backend, BackendError, type ConnectOptions } from "@lockmgr/lockmgr";
import { type Random, seeded } from "../faults/random.ts";
import { check, type Verdict } from "../history/checker.ts";
import type { HistoryEvent } from "../history/events.ts";
import { Aborted, Recorder } from "../history/recorder.ts";
import { watchStalls } from "../history/stalls.ts";
import { connectAgain } from "../servers/connect_again.ts";

/** What clients do. */
export interface Workload {
  /** The address of each client. */
  readonly urls: readonly string[];
  /** How each connects. */
  readonly options: ConnectOptions;
  /** How long a lock lasts (s); `undefined` in `session` mode. */
  readonly expires?: number;
  readonly seed: number;
  /** Whether no two clients may hold the name at once, whatever fails. @default true */
  readonly exclusive?: boolean;
  /** How long (ms) after the next grant a holder may be told. @default 0 */
  readonly telling?: number;
  /** What fails. It begins when every client has held a lock, and ends when it needs no more of their work. */
  fail(grants: Grants): Promise<unknown>;
}

/** Which clients have held a lock. */
export interface Grants {
  /** Resolves when each of these clients has been granted a lock once more; rejects after a minute. */
  again(...clients: number[]): Promise<void>;
  /** Resolves when one of these clients has been granted a lock once more; rejects after a minute. */
  any(...clients: number[]): Promise<void>;
  /** Has a client keep its next lock until it is lost. Resolves when it has it. */
  keep(client: number): Promise<void>;
}

/** What came of it. */
export interface Outcome {
  /** What was broken. */
  readonly verdict: Verdict;
  /** Errors that were told to callers who waited for the lock, by their words. */
  readonly errors: ReadonlyMap<string, number>;
}

/** The rules that hold whatever fails. A name may stay held, or be busy for a reason that no client knows. */
const RULES = ["rising tokens", "no foreign harm"];
/** Those that hold where no confirmed commit is lost. */
const EXCLUSIVE_RULES = ["exclusion", "loss told"];
const NAME = "first";
/** How long a client waits for the name (s), and holds it (ms). */
const WAIT = 30;
const HOLD_MS = 120;
const PATIENCE_MS = 60_000;
/** Why the clients end. */
const OVER = new Aborted("it is over");

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** One client. */
interface Client {
  readonly hand: Recorder;
  readonly random: Random;
  /** How often it was granted the name. */
  grants: number;
  /** Whether it keeps its next lock. */
  keeps: boolean;
}

/** Takes and holds the name until it is over. */
async function work(client: Client, expires: number | undefined, over: AbortSignal): Promise<void> {
  const { hand, random } = client;
  while (!over.aborted) {
    const lock = await hand.acquire(NAME, { expires, wait: WAIT, autoRenew: true, signal: over });
    if (lock === undefined) {
      await sleep(20);
      continue;
    }
    client.grants++;
    const until = client.keeps ? Infinity : performance.now() + random.between(0, HOLD_MS);
    client.keeps = false;
    while (hand.believes(lock) && performance.now() < until && !over.aborted) await sleep(random.between(0, 10));
    await hand.release(lock);
  }
}

/** Runs the clients until what fails has failed, and checks their history. */
export async function underWork({ exclusive = true, telling = 0, ...workload }: Workload): Promise<Outcome> {
  const { urls, options, expires, seed, fail } = workload;
  const history: HistoryEvent[] = [];
  const sink = (event: HistoryEvent) => void history.push(event);
  const over = new AbortController();
  const clients: Client[] = [];
  for (const [index, url] of urls.entries()) {
    const hand = new Recorder(`client ${index}`, await connectAgain(url, options), sink);
    clients.push({ hand, random: seeded(seed + index), grants: 0, keeps: false });
  }
  const granted = async (wanted: number[], enough: "some" | "every") => {
    const before = clients.map(({ grants }) => grants);
    const until = performance.now() + PATIENCE_MS;
    while (!wanted[enough]((index) => clients[index].grants > before[index])) {
      if (performance.now() > until) throw new Error(`Not granted again: ${wanted}, ${[...errorsIn(history)]}`);
      await sleep(5);
    }
  };
  const grants: Grants = {
    again: (...wanted) => granted(wanted, "every"),
    any: (...wanted) => granted(wanted, "some"),
    async keep(index) {
      clients[index].keeps = true;
      while (clients[index].keeps) await grants.again(index);
    },
  };
  using _stalls = watchStalls("tests", sink);
  const working = clients.map((client) => work(client, expires, over.signal));
  try {
    await grants.again(...urls.keys());
    await fail(grants);
  } finally {
    over.abort(OVER);
    await Promise.all(working);
    await Promise.all(clients.map(({ hand }) => close(hand.backend)));
  }
  const sessions = options.mode !== undefined && options.mode !== "lease";
  const verdict = check(history, { sessions, listening: true, telling });
  const rules = exclusive ? [...RULES, ...EXCLUSIVE_RULES] : RULES;
  const offences = verdict.offences.filter(({ rule }) => rules.includes(rule));
  return { verdict: { ...verdict, offences }, errors: errorsIn(history) };
}

/** Disposes of a backend whose server may be gone. */
async function close(backend: Backend): Promise<void> {
  try {
    await backend[Symbol.asyncDispose]();
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
  }
}

function errorsIn(history: readonly HistoryEvent[]): Map<string, number> {
  const errors = new Map<string, number>();
  const waits = new Set<string>();
  for (const event of history) {
    if (event.kind === "invoked" && event.verb === "acquire") waits.add(`${event.worker} ${event.id}`);
    if (event.kind !== "completed" || event.outcome !== "unknown" || event.error === OVER.message) continue;
    if (!waits.has(`${event.worker} ${event.id}`)) continue;
    const words = String(event.error).replace(/"[^"]*"/g, "…").slice(0, 120);
    errors.set(words, (errors.get(words) ?? 0) + 1);
  }
  return errors;
}
