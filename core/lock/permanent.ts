/**
 * Locks that never expire. A lost answer must not leave one behind that no program knows of: it is granted for a minute,
 * and made permanent once its holder has the answer.
 *
 * @module
 */
import type { Backend, RenewRequest } from "../backend.ts";
import { BackendError } from "../errors.ts";
import type { Grant } from "../grant.ts";
import { Backoff } from "../util/backoff.ts";
import { withDeadline } from "../util/deadline.ts";
import { isRetryable } from "../util/retry.ts";
import { monotonic, sleep } from "../util/runtime.ts";
import { type BackendState, stateOf } from "../wait/backend_state.ts";

/** How long such a lock is granted for at first (µs): several tries while a server restarts. */
export const FIRST_DURATION_US = 60e6;
/** Pauses between tries to make it permanent (ms). */
const RETRY = { first: 100, longest: 2_000 };

/** Why a lock could not be made permanent. */
interface Failure {
  readonly name: string;
  readonly error: unknown;
}

/**
 * Makes locks permanent that were granted for a while: all of them, or all are released.
 *
 * @param deadline When (ms, monotonic) to give up, at the latest.
 * @throws {BackendError} When the database did not confirm it in time.
 */
export async function makePermanent(
  backend: Backend,
  grants: readonly Grant[],
  signal?: AbortSignal,
  deadline = Infinity,
): Promise<Grant[]> {
  const state = stateOf(backend);
  const leaseEnd = Math.min(...grants.map(({ row, askedAt }) => askedAt + (row.lockedUntil! - row.now) / 1e3));
  try {
    return await confirmAll(state, grants, Math.min(leaseEnd, deadline), signal);
  } catch (error) {
    for (const { claim: { name, owner } } of grants) state.undo.add({ name, owner }, null, true);
    throw error;
  }
}

async function confirmAll(
  state: BackendState,
  grants: readonly Grant[],
  until: number,
  signal?: AbortSignal,
): Promise<Grant[]> {
  const done = new Map<Grant, Grant>();
  const backoff = new Backoff(RETRY);
  for (;;) {
    const left = grants.filter((grant) => !done.has(grant));
    const failure = await withDeadline(
      until - monotonic(),
      confirmEach(state, left, done),
      (): Failure => ({ name: left[0].claim.name, error: noAnswer() }),
    );
    signal?.throwIfAborted();
    if (state.ended) throw state.ended;
    if (failure === undefined) return grants.map((grant) => done.get(grant)!);
    const pause = backoff.next();
    if (!isRetryable(failure.error) || monotonic() + pause >= until) throw refusal(failure);
    await sleep(pause, signal);
  }
}

/** Tries each lock once; returns why one of them failed. */
async function confirmEach(
  state: BackendState,
  grants: readonly Grant[],
  done: Map<Grant, Grant>,
): Promise<Failure | undefined> {
  const requests = grants.map(({ claim }): RenewRequest => ({ ...claim, from: "now", add: null }));
  let failure: Failure | undefined;
  await Promise.all(
    requests.map(async (request, index) => {
      const grant = grants[index];
      const { name } = grant.claim;
      try {
        const { answer: row, askedAt } = await state.renew.send(request, requests.length > 1, () => !state.ended);
        if (row?.lockedUntil === null) done.set(grant, { ...grant, row, askedAt });
        else failure = { name, error: row === undefined ? undefined : rowIsLocked(name) };
      } catch (error) {
        failure ??= { name, error };
      }
    }),
  );
  return failure;
}

function noAnswer(): BackendError {
  return new BackendError("the database has not answered", { retryable: true });
}

/** The error for a row that another transaction has locked, as `guard` does: it is not extended yet. */
function rowIsLocked(name: string): BackendError {
  const message = `Cannot renew lock ${JSON.stringify(name)}: another transaction has locked its row`;
  return new BackendError(message, { retryable: true });
}

function refusal({ name, error }: Failure): BackendError {
  const why = error === undefined ? "it was released by another client" : (error as Error).message;
  const granted = `it was granted for ${FIRST_DURATION_US / 1e6} s and could not be made permanent`;
  const message = `Cannot acquire lock ${JSON.stringify(name)}: ${granted}: ${why}`;
  return new BackendError(message, { cause: error, retryable: true });
}
