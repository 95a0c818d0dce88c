import type { Backend, ListFilter } from "../backend.ts";
import { backendOf } from "../connect.ts";
import { BackendError } from "../errors.ts";
import type { LockRecord } from "../lock/lock_record.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { checkInterval, requireRows, type WatchOptions } from "../options/options.ts";
import { monotonic, sleep } from "../util/runtime.ts";
import { stateOf } from "../wait/backend_state.ts";
import { Wakeup } from "../wait/wakeup.ts";
import { listRecords, resolveFilter } from "./list_locks.ts";

/** The default of `interval` (s). */
const INTERVAL_S = 0.25;
/** The shortest time between two queries (ms): a busy name causes many notifications. */
const SHORTEST_PAUSE_MS = 10;
/** A lease is gone for this long (ms) when the database is asked after its expiry. */
const AFTER_EXPIRY_MS = 1;

/**
 * The state of one name, from `watchLocks`.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockChange, watchLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend, lockedBy: "host-a" });
 * for await (const change of watchLocks({ backend })) {
 *   const { name, holders, waiters }: LockChange = change;
 *   assert.deepEqual([name, holders[0].lockedBy, waiters], ["jobs", "host-a", 0]);
 *   break;
 * }
 * ```
 */
export interface LockChange {
  /** The name. */
  readonly name: string;
  /** The holders, in the order in which they acquired it; empty when the name is free. */
  readonly holders: LockRecord[];
  /** How many clients wait for the name. Each process counts once, whatever waits in it. */
  readonly waiters: number;
}

/**
 * Yields the state of each name at once, and again on every change: an acquisition, a renewal, a release, an expiry, and
 * another number of waiters. With `names` also of those that are free; otherwise of the names that are held, and of one
 * of these once more when it becomes free. Changes nothing.
 *
 * A change that is undone between two queries is not seen: the last state of a name always is. A release of one of the
 * `names` is seen at once where the database notifies clients. It ends with `signal`, or when the loop is left.
 *
 * @example
 * ```ts
 * import { connect, getLock, watchLocks } from "@lockmgr/lockmgr";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("deploy", { backend });
 * for await (const { name, holders } of watchLocks({ backend, names: ["deploy"] })) {
 *   if (holders.length === 0) break; // free: nothing more to wait for
 *   console.log(`${name} is held by ${holders[0].lockedBy}`);
 *   await lock.unlock();
 * }
 * ```
 *
 * @param options Which locks, and the backend. The iteration of an aborted `signal` yields nothing.
 * @returns What can be iterated several times, each time from the present state. Its iterator can be asked again after a
 * `BackendError`: it goes on with what has changed since.
 * @throws {BackendError} In the loop, when the database could not answer.
 * @throws {UnsupportedError} In the loop, in `session` mode, which has no rows.
 * @throws {TypeError | RangeError} At once, for an invalid option.
 */
export function watchLocks(options: WatchOptions = {}): AsyncIterable<LockChange> {
  checkVerbOptions("watchLocks", options);
  const filter = resolveFilter(options);
  const interval = checkInterval(options.interval ?? INTERVAL_S);
  const { signal } = options;
  const open = () => backendOf(options);
  return { [Symbol.asyncIterator]: () => new LockWatch(open, filter, interval, signal) };
}

/** One iteration over the changes of some locks. */
class LockWatch implements AsyncIterator<LockChange, undefined> {
  readonly #open: () => Backend | Promise<Backend>;
  readonly #filter: ListFilter;
  readonly #interval: number;
  readonly #signal: AbortSignal | undefined;
  readonly #stop = () => {
    this.#ended = true;
    const wakeup = this.#wakeup;
    this.#close();
    wakeup?.notify();
  };
  readonly #wake = () => {
    this.#notified = true;
    this.#wakeup?.notify();
  };
  /** The state of each name that was reported, as text. */
  readonly #states = new Map<string, string>();
  /** Changes that the last query found and that are not reported yet. */
  #changes: LockChange[] = [];
  #backend: Backend | undefined;
  #wakeup: Wakeup | undefined;
  /** When (ms, monotonic) the last query was sent, and the first of the leases that it found expires. */
  #askedAt = -Infinity;
  #expiresAt = Infinity;
  /** Whether something may have changed since the last query. */
  #notified = true;
  #ended = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    open: () => Backend | Promise<Backend>,
    filter: ListFilter,
    interval: number,
    signal: AbortSignal | undefined,
  ) {
    this.#open = open;
    this.#filter = filter;
    this.#interval = interval;
    this.#signal = signal;
  }

  next(): Promise<IteratorResult<LockChange, undefined>> {
    const result = this.#last.then(() => this.#next());
    this.#last = result.catch(() => {});
    return result;
  }

  async return(): Promise<IteratorResult<LockChange, undefined>> {
    this.#stop();
    await this.#last;
    return { done: true, value: undefined };
  }

  async #next(): Promise<IteratorResult<LockChange, undefined>> {
    try {
      for (;;) {
        if (this.#ended || this.#signal?.aborted) {
          this.#close();
          return { done: true, value: undefined };
        }
        const value = this.#changes.shift();
        if (value) return { done: false, value };
        if (this.#wakeup === undefined) await this.#start();
        await this.#pause();
        if (!this.#ended) await this.#query();
      }
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  async #start(): Promise<void> {
    this.#backend ??= await this.#open();
    requireRows(this.#backend, "watch locks");
    const poll = { first: Math.min(SHORTEST_PAUSE_MS, this.#interval), longest: this.#interval, factor: 1.5 };
    this.#wakeup = new Wakeup(this.#backend, this.#wake, poll);
    stateOf(this.#backend).watches.add(this.#wake);
    this.#signal?.addEventListener("abort", this.#stop);
    this.#notified = true;
  }

  /** Pauses until something may have changed, and so long that queries do not follow each other too closely. */
  async #pause(): Promise<void> {
    if (!this.#notified) await this.#wakeup!.wait(this.#expiresAt, true);
    const left = this.#askedAt + SHORTEST_PAUSE_MS - monotonic();
    if (left > 0 && !this.#ended) await sleep(left);
  }

  async #query(): Promise<void> {
    const backend = this.#backend!;
    if (stateOf(backend).ended) throw new BackendError("Cannot watch locks: the backend was disposed of");
    this.#notified = false;
    this.#askedAt = monotonic();
    const records = await listRecords(backend, this.#filter);
    const { names } = this.#filter;
    const found = new Map<string, LockRecord[]>(names?.map((name) => [name, []]));
    this.#expiresAt = Infinity;
    for (const record of records) {
      const holders = found.get(record.name);
      if (holders) holders.push(record);
      else found.set(record.name, [record]);
      this.#expiresAt = Math.min(this.#expiresAt, expiryOf(record));
    }
    // only held names are watched: a free one is no reason for a notification to any waiter
    if (names) this.#wakeup?.watch(names.filter((name) => found.get(name)!.length > 0));
    for (const name of this.#states.keys()) if (!found.has(name)) found.set(name, []);
    for (const [name, holders] of found) this.#note(name, holders);
    if (this.#changes.length > 0) this.#wakeup?.reset();
  }

  /** Reports the state of a name if it is another than before. */
  #note(name: string, holders: LockRecord[]): void {
    const waiters = Math.max(0, ...holders.map((holder) => holder.waiters));
    const leases = holders.map(({ token, lockedUntil, updatedAt, lockedBy }) => { // holdAtLeast leaves lockedBy empty
      return [String(token), lockedUntil?.getTime(), updatedAt.getTime(), lockedBy];
    });
    const state = JSON.stringify([leases, waiters]);
    if (this.#states.get(name) === state) return;
    if (holders.length > 0 || this.#filter.names) this.#states.set(name, state);
    else this.#states.delete(name);
    this.#changes.push({ name, holders, waiters });
  }

  /** Ends what this iteration has begun. */
  #close(): void {
    this.#wakeup?.close();
    this.#wakeup = undefined;
    this.#signal?.removeEventListener("abort", this.#stop);
    if (this.#backend) stateOf(this.#backend).watches.delete(this.#wake);
  }
}

/** When (ms, monotonic) the database no longer lists a lease. */
function expiryOf({ expiresIn }: LockRecord): number {
  return expiresIn === null ? Infinity : monotonic() + expiresIn * 1e3 + AFTER_EXPIRY_MS;
}
