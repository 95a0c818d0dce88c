/**
 * Renews leases and notices when they expire: one timer for all locks of this process, and one request for the renewals
 * of a backend that are due at about the same time.
 *
 * @module
 */
import type { Backend, LockRow, RenewRequest } from "../backend.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";
import type { Held } from "../wait/backend_state.ts";
import type { Answered } from "../wait/batcher.ts";

/** The interval between renewals, as a share of the lease: two renewals may fail before it expires. */
const INTERVAL_SHARE = 1 / 3;
/** After an answer that came late in a lease, the next renewal waits for at least this share of the interval. */
const MIN_PAUSE_SHARE = 0.25;
/** Renewals that are due within this share of their interval are sent with one that is due now. */
const EARLY_SHARE = 0.1;

/** After a renewal without an answer the next try comes after this share of the interval, at most a second (ms). */
const RETRY_SHARE = 0.25;
const RETRY_MAX_MS = 1_000;

/** What the renewer needs of a lock. Times are monotonic, in milliseconds. */
export interface Renewable extends Held {
  readonly backend: Backend;
  /** When the lease expires by this process's clock. */
  readonly deadline: number;
  /** Microseconds of each renewal; `undefined` without renewal. */
  readonly renewBy: number | undefined;
  /** When to renew next. */
  renewAt: number;
  /** Asks for more time, in one batch with others that ask at the same moment (`together`). */
  renew(request: RenewRequest, together: boolean): Promise<Answered<LockRow | undefined>>;
  /** Takes in a newer row. */
  confirm(row: LockRow, askedAt: number): void;
}

const tracked = new Set<Renewable>();
let timer: Timer | undefined;
let timerAt = Infinity;

/** Returns the interval (ms) between the renewals of a lock. */
export function renewalInterval({ renewBy }: Pick<Renewable, "renewBy">): number {
  return renewBy! * INTERVAL_SHARE / 1e3;
}

/**
 * Returns when to renew after an answer: one interval after its lease began. An answer that gave no more time, such as
 * that of `refresh`, must not postpone the renewal.
 */
export function nextRenewal(lock: Renewable, askedAt: number): number {
  const interval = renewalInterval(lock);
  const due = Math.min(askedAt, lock.deadline - lock.renewBy! / 1e3) + interval;
  return Math.max(due, monotonic() + interval * MIN_PAUSE_SHARE);
}

/** Tracks a lock from now on, or takes notice of its new times. */
export function track(lock: Renewable): void {
  const at = nextEvent(lock);
  if (at === Infinity) return; // it neither expires nor is renewed
  tracked.add(lock);
  setTimer(at);
}

/** Stops tracking a lock. */
export function untrack(lock: Renewable): void {
  if (!tracked.delete(lock) || tracked.size > 0) return;
  timer?.stop();
  timer = undefined;
  timerAt = Infinity;
}

function nextEvent({ deadline, renewAt }: Renewable): number {
  return Math.min(deadline, renewAt);
}

function setTimer(at: number): void {
  if (at >= timerAt) return;
  timer?.stop();
  timerAt = at;
  timer = startTimer(at - monotonic(), tick, false);
}

/** Signals the locks that have expired, renews what is due, and sets the timer. */
function tick(): void {
  timerAt = Infinity;
  timer = undefined;
  const now = monotonic();
  const due: Renewable[] = [];
  for (const lock of tracked) {
    if (!lock.held) continue;
    if (lock.renewAt - (lock.renewBy ? renewalInterval(lock) * EARLY_SHARE : 0) > now) continue;
    lock.renewAt = Infinity; // until the answer is there
    due.push(lock);
  }
  for (const locks of Map.groupBy(due, ({ backend }) => backend).values()) {
    for (const lock of locks) renew(lock, locks.length > 1);
  }
  let next = Infinity;
  for (const lock of tracked) next = Math.min(next, nextEvent(lock));
  setTimer(next);
}

/** Renews a lock. A renewal without an answer is no loss: the deadline decides. */
async function renew(lock: Renewable, together: boolean): Promise<void> {
  const { claim, renewBy } = lock;
  try {
    const { answer: row, askedAt } = await lock.renew({ ...claim, from: "now", add: renewBy! }, together);
    if (row) lock.confirm(row, askedAt);
    else lock.lose("the database says that it is gone");
  } catch {
    if (!tracked.has(lock) || lock.renewBy === undefined) return;
    lock.renewAt = monotonic() + Math.min(renewalInterval(lock) * RETRY_SHARE, RETRY_MAX_MS);
    track(lock);
  }
}
