/**
 * Keeps leases alive and notices when they run out: one timer for all locks of this process, renewals sent together.
 *
 * @module
 */
import type { Backend, LockRow } from "../backend.ts";
import { backendState } from "../wait/backend_state.ts";
import type { HeldLock } from "./held_lock.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Renewals that are due within this share of their interval travel with the one that is due now. */
const TOGETHER = 0.1;

/** After a renewal without an answer the next try comes after a quarter of the interval, at most a second (ms). */
const RETRY_SHARE = 0.25;
const RETRY_LONGEST = 1_000;

const kept = new Set<HeldLock>();
let timer: Timer | undefined;
let timerAt = Infinity;

/** Watches over a lock from now on, or anew after its times have changed. */
export function keep(holding: HeldLock): void {
  const at = nextEvent(holding);
  if (at === Infinity) return; // neither expires nor is renewed
  kept.add(holding);
  arm(at);
}

/** Stops watching over a lock. */
export function leave(holding: HeldLock): void {
  if (kept.size === 0 || !kept.delete(holding) || kept.size > 0) return;
  timer?.stop();
  timer = undefined;
  timerAt = Infinity;
}

/** When a lock needs a look: at its renewal or at its deadline, whichever is first. */
function nextEvent(holding: HeldLock): number {
  return Math.min(holding.deadline, holding.renewAt);
}

/** Sees to it that the timer goes off by `at`. */
function arm(at: number): void {
  if (at >= timerAt) return;
  timer?.stop();
  timerAt = at;
  timer = startTimer(at - monotonic(), lookAfterAll, false);
}

/** Tells of every lease that ran out, renews what is due, and sets the timer for what comes next. */
function lookAfterAll(): void {
  timerAt = Infinity;
  timer = undefined;
  const now = monotonic();
  const due = new Map<Backend, HeldLock[]>();
  for (const holding of kept) {
    if (!holding.held) continue;
    if (holding.renewAt - (holding.renewBy ? holding.renewEvery * TOGETHER : 0) > now) continue;
    holding.renewAt = Infinity; // until the answer is there
    const together = due.get(holding.backend);
    if (together) together.push(holding);
    else due.set(holding.backend, [holding]);
  }
  for (const [backend, holdings] of due) renewTogether(backend, holdings);
  let next = Infinity;
  for (const holding of kept) next = Math.min(next, nextEvent(holding));
  arm(next);
}

/** Renews the locks of one backend in one batch. */
function renewTogether(backend: Backend, holdings: HeldLock[]): void {
  const askedAt = monotonic();
  const requests = holdings.map(({ claim, renewBy }) => ({ ...claim, from: "now" as const, add: renewBy! }));
  backendState(backend).renew.askEach(requests).forEach((answer, index) => confirm(holdings[index], askedAt, answer));
}

/**
 * Takes in what came of a renewal. Four outcomes: renewed, lost (the server says so), ended (released meanwhile), or
 * unknown (no answer), which is no loss until the deadline.
 */
async function confirm(holding: HeldLock, askedAt: number, answer: Promise<LockRow | undefined>): Promise<void> {
  try {
    const row = await answer;
    if (row) holding.confirm(row, askedAt);
    else holding.lose("the database says that it is gone");
  } catch {
    // No answer is not an answer: the deadline decides, and a lock that is lost says so by its signal.
    if (!kept.has(holding)) return;
    holding.renewAt = monotonic() + Math.min(holding.renewEvery * RETRY_SHARE, RETRY_LONGEST);
    keep(holding);
  }
}
