/**
 * Locks that never expire. No lost answer may leave one behind that no program knows of: it is granted for a while,
 * and made permanent once its holder has heard of the grant.
 *
 * @module
 */
import type { Backend, LockRow, RenewRequest } from "../backend.ts";
import { type BackendState, backendState } from "../wait/backend_state.ts";
import { BackendError } from "../errors.ts";
import type { Grant } from "./held_lock.ts";
import { isRetryable } from "../util/retry.ts";
import { withDeadline } from "../util/deadline.ts";
import { monotonic, sleep } from "../util/runtime.ts";

/** How long such a lock is granted for at first, in microseconds: time for several tries while a server starts again. */
const FIRST_DURATION = 60e6;
/** Pauses between tries to make it permanent (ms), from the first to the longest. */
const RETRY_FIRST_MS = 100;
const RETRY_LONGEST_MS = 2_000;

/** What to ask for when `duration` is wanted: `null`, which is never, for a while at first. */
export function firstDuration(backend: Backend, duration: number | null): number | null {
  return duration === null && backend.mode !== "session" ? FIRST_DURATION : duration;
}

/**
 * Makes locks permanent that were granted for a while. All of them, or all are released.
 *
 * @param deadline When (ms, monotonic) the caller is told that it could not be confirmed, at the latest.
 * @throws {BackendError} When the database did not confirm that in time.
 */
export async function makePermanent(
  backend: Backend,
  grants: readonly Grant[],
  signal?: AbortSignal,
  deadline = Infinity,
): Promise<Grant[]> {
  const batches = backendState(backend);
  const leaseEnd = Math.min(...grants.map(({ row, askedAt }) => askedAt + (row.lockedUntil! - row.now) / 1e3));
  try {
    return await confirmed(batches, grants, Math.min(leaseEnd, deadline), signal);
  } catch (error) {
    for (const { claim } of grants) batches.undoing.undo(claim, null, true);
    throw error;
  }
}

async function confirmed(
  batches: BackendState,
  grants: readonly Grant[],
  until: number,
  signal?: AbortSignal,
): Promise<Grant[]> {
  const done = new Map<Grant, Grant>();
  for (let pause = RETRY_FIRST_MS;; pause = Math.min(2 * pause, RETRY_LONGEST_MS)) {
    const left = grants.filter((grant) => !done.has(grant));
    let failure: Failure | undefined = { name: left[0].claim.name, error: silence() };
    await withDeadline(until - monotonic(), confirmEach(batches, left, done).then((found) => failure = found));
    signal?.throwIfAborted();
    if (batches.ended) throw batches.ended;
    if (failure === undefined) return grants.map((grant) => done.get(grant)!);
    if (!isRetryable(failure.error) || monotonic() + pause >= until) throw refusal(failure);
    await sleep(pause, signal);
  }
}

/** Why a lock could not be made permanent. */
interface Failure {
  readonly name: string;
  readonly error: unknown;
}

/** Tries each once; answers why one of them failed. */
async function confirmEach(
  batches: BackendState,
  grants: readonly Grant[],
  done: Map<Grant, Grant>,
): Promise<Failure | undefined> {
  const askedAt = monotonic();
  const requests = grants.map(({ claim }): RenewRequest => ({ ...claim, from: "now", add: null }));
  let failure: Failure | undefined;
  await Promise.all(
    batches.renew.askEach(requests).map(async (answer, index) => {
      const grant = grants[index];
      const { name } = grant.claim;
      try {
        const row: LockRow | undefined = await answer;
        if (row?.lockedUntil === null) done.set(grant, { ...grant, row, askedAt });
        else failure = { name, error: row === undefined ? undefined : rowIsLocked(name) };
      } catch (error) {
        failure ??= { name, error };
      }
    }),
  );
  return failure;
}

/** Until the deadline there was no answer. */
function silence(): BackendError {
  return new BackendError("there was no answer of the database", { retryable: true });
}

/** A row that a transaction of another keeps is not extended yet. */
function rowIsLocked(name: string): BackendError {
  const message = `Cannot renew lock ${JSON.stringify(name)}: another transaction has locked its row`;
  return new BackendError(message, { retryable: true });
}

function refusal({ name, error }: Failure): BackendError {
  const why = error === undefined ? "it was released by another" : (error as Error).message;
  return new BackendError(
    `Cannot acquire lock ${JSON.stringify(name)}: it was granted for ${FIRST_DURATION / 1e6} s and could not be made ` +
      `permanent: ${why}`,
    { cause: error, retryable: true },
  );
}
