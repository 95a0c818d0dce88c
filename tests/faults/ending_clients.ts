/**
 * What clients have under way when they end.
 *
 * @module
 */
import {
  type Backend,
  getLock,
  getLocks,
  lead,
  type Lock,
  LockMgr,
  renewLock,
  setLock,
  tryLock,
  withLock,
} from "@lockmgr/lockmgr";
import { lockManager } from "@lockmgr/lockmgr/web-locks";
import { deferred } from "../conformance/case.ts";
import type { Random } from "./random.ts";

/** How often a client does each of the things that it may do. */
const SHARE = 0.6;
/** Errors that a client may be told when it ends, by code or name. */
const EXPECTED = ["BACKEND", "LOCKED", "LOCK_TIMEOUT", "LOCK_LOST", "AbortError"];

/** What a client is given. */
export interface ClientOptions {
  /** Its names begin with this. */
  readonly id: string;
  /** A name that another client holds. */
  readonly awaited: string;
  /** Whether its locks are rows. */
  readonly rows: boolean;
  readonly random: Random;
  /** Ends what it waits for. */
  readonly signal: AbortSignal;
}

/** One call. */
interface Call {
  /** The names that it wants and no other client does. */
  readonly names: readonly string[];
  /** Whether the signal ends it. */
  readonly heeds: boolean;
  readonly outcome: Promise<unknown>;
  isOver: boolean;
  result?: unknown;
}

/** What a client has under way. */
export interface Client {
  /** The names that it wants and no other client does. */
  readonly names: readonly string[];
  /** Those of locks that it lost before it ended, as a machine without time for it lets a short lease expire. */
  expired(): string[];
  /** How many of its calls are under way. */
  underWay(): number;
  /** Ends the bodies that run under its locks. */
  letGo(): void;
  /** After an abort: the names of those who were refused, once they were told, and the releases of what others got. */
  aborted(): Promise<{ refused: string[]; kept: Promise<unknown>[] }>;
  /** Waits for every call; returns those that ended with an error that is not meant for them. */
  ended(reason: unknown): Promise<string[]>;
}

type Calls = Readonly<Record<string, (name: string, second: string) => Promise<unknown>>>;

/** Calls that a signal ends. */
function abortable(backend: Backend, { awaited, rows, signal }: ClientOptions, body: () => Promise<void>): Calls {
  const waiting = { backend, wait: 30, signal };
  return {
    tryLock: (name) => tryLock(name, { backend, signal }),
    getLock: (name) => getLock(name, waiting),
    "getLock of a held name": () => getLock(awaited, waiting),
    "getLock of a held name again": () => getLock(awaited, { ...waiting, wait: Infinity }),
    getLocks: (name, second) => getLocks([name, second], waiting),
    "getLocks with a held name": (name) => getLocks([name, awaited], waiting),
    withLock: (name) => withLock(name, waiting, () => {}),
    "withLock that goes on": (name) => withLock(name, waiting, body),
    "LockMgr.acquire": (name) => LockMgr.acquire(name, waiting),
    ...rows && {
      "getLock without expiry": (name) => getLock(name, { ...waiting, expires: null }),
      "getLock shared": (name) => getLock(name, { ...waiting, shared: true }),
      "getLock with a limit": () => getLock(awaited, { ...waiting, limit: 3 }),
      "getLock with steal": (name) => getLock(name, { ...waiting, steal: true }),
      lead: (name) => lead(name, { backend, signal }, body),
    },
  };
}

/** Calls that only the disposal ends. */
function disposable(backend: Backend, { rows }: ClientOptions, body: () => Promise<void>): Calls {
  return {
    "a release": async (name) => await (await getLock(name, { backend })).unlock(),
    lockManager: (name) => lockManager(backend).request(name, body),
    ...rows && {
      "tryLock without expiry": (name) => tryLock(name, { backend, expires: null }),
      "a renewal": async (name) => await (await getLock(name, { backend })).renew({ expires: 900 }),
      autoRenew: (name) => getLock(name, { backend, expires: 1, autoRenew: true }),
      setLock: (name, second) => setLock([name, second], { backend }),
      "setLock with fail": (name, second) => setLock([name, second], { backend, fail: true, expires: null }),
      "renewLock with create": (name) => renewLock(name, { backend, create: true }),
    },
  };
}

/** Releases what a call resolved with. */
function release(result: unknown): Promise<unknown> {
  return Promise.resolve((result as Partial<Lock> | undefined)?.[Symbol.asyncDispose]?.());
}

/** Whether a call resolved with a lock whose lease has expired. */
function hasExpired(result: unknown): boolean {
  return /lease expired/.test(String((result as Partial<Lock> | undefined)?.signal?.reason));
}

/** Begins calls, of which none is awaited. */
export function begin(backend: Backend, options: ClientOptions): Client {
  const { id, random } = options;
  const over = deferred();
  const body = () => over.promise;
  const calls: Call[] = [];
  const start = (all: Calls, heeds: boolean) => {
    for (const [what, call] of Object.entries(all)) {
      if (random.next() > SHARE) continue;
      const names = [`${id} ${what}`, `${id} ${what} 2`];
      const started: Call = { names, heeds, outcome: call(names[0], names[1]), isOver: false };
      const done = () => started.isOver = true;
      started.outcome.then((result) => (started.result = result, done()), done);
      calls.push(started);
    }
  };
  start(abortable(backend, options, body), true);
  start(disposable(backend, options, body), false);
  return {
    names: calls.flatMap(({ names }) => names),
    expired: () => calls.filter(({ result }) => hasExpired(result)).flatMap(({ names }) => names),
    underWay: () => calls.filter(({ isOver }) => !isOver).length,
    letGo: over.resolve,
    async aborted() {
      const refused: string[] = [];
      const kept: Promise<unknown>[] = [];
      for (const { names, heeds, outcome } of calls) {
        if (!heeds) continue;
        await outcome.then((result) => kept.push(release(result)), () => refused.push(...names));
      }
      return { refused, kept };
    },
    async ended(reason) {
      const outcomes = await Promise.allSettled(calls.map(({ outcome }) => outcome));
      return outcomes.flatMap((outcome) => {
        if (outcome.status === "fulfilled" || outcome.reason === reason) return [];
        const { code, name } = outcome.reason;
        return EXPECTED.includes(code) || EXPECTED.includes(name) ? [] : [`${id}: ${outcome.reason?.stack}`];
      });
    },
  };
}

/** The names that a command may want. */
export interface Wanted {
  /** Those that no other client wants. */
  readonly own: readonly string[];
  /** One that another client holds for a while. */
  readonly awaited: string;
}

/** A command that is ended. */
interface EndedCommand {
  args(wanted: Wanted): string[];
  /** Whether it needs locks that are rows. */
  readonly rows?: boolean;
  /** Whether its locks stay when it succeeds. */
  readonly keeps?: boolean;
}

/** The commands that take locks. */
export const COMMANDS: readonly EndedCommand[] = [
  { args: ({ own }) => ["run", own[0], "--", "true"] },
  { args: ({ own }) => ["run", own[0], "--", "sleep", "1"] },
  { args: ({ awaited }) => ["run", awaited, "--", "true"] },
  { args: ({ awaited }) => ["run", awaited, "--", "sleep", "1"] },
  { args: ({ own }) => ["run", own[0], "-t", "0", "--", "true"], rows: true },
  { args: ({ awaited }) => ["run", awaited, "--shared", "--", "true"], rows: true },
  { args: ({ awaited }) => ["run", awaited, "-t", "0", "--", "true"], rows: true },
  { args: ({ own }) => ["lead", own[0], "--", "sleep", "1"], rows: true },
  { args: ({ awaited }) => ["lead", awaited, "--", "sleep", "1"], rows: true },
  { args: ({ own }) => ["set_lock", own[0], "-k"], rows: true, keeps: true },
  { args: ({ own }) => ["set_lock", ...own, "-e"], rows: true, keeps: true },
  { args: ({ own }) => ["renew", own[0], "--create", "-t", "0"], rows: true, keeps: true },
  { args: ({ awaited }) => ["wait", awaited] },
];
