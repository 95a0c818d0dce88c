import type { AcquireAnswer, AcquireRequest, Backend } from "../backend.ts";
import { backendState } from "./backend_state.ts";
import type { Grant, HeldLock } from "../lock/held_lock.ts";
import { durationFor, type ResolvedLockOptions } from "../options/options.ts";
import { firstDuration, makePermanent } from "../lock/permanent.ts";
import { isBackendError, isRetryable, leaseStart } from "../util/retry.ts";
import { monotonic, randomId } from "../util/runtime.ts";
import { acquireInOrder, type Outcome } from "./acquire_in_order.ts";

/** Whether the options ask for a row that never expires. */
function neverExpires(backend: Backend, options: ResolvedLockOptions): boolean {
  return backend.mode !== "session" && durationFor(backend, options) === null;
}

/** The request for one name that resolved options make on this backend. */
function requestFor(
  backend: Backend,
  name: string,
  options: ResolvedLockOptions,
): AcquireRequest {
  return {
    name,
    owner: randomId(),
    duration: firstDuration(backend, durationFor(backend, options)),
    lockedBy: options.lockedBy,
    lockProcess: options.lockProcess,
    metadata: options.metadata,
    shared: options.shared,
  };
}

/** Takes one name, waiting in line as long as the options say. */
export function acquire(
  backend: Backend,
  name: string,
  options: ResolvedLockOptions,
): Promise<Outcome> {
  options.signal?.throwIfAborted();
  const request = requestFor(backend, name, options);
  const deadline = options.wait === 0 ? -Infinity : monotonic() + options.wait * 1e3;
  const outcome = acquireInOrder(backend, request, deadline, options.signal);
  if (!neverExpires(backend, options)) return outcome;
  return track(backend, permanently(backend, outcome, deadline, options.signal));
}

/** Has a disposal of the backend wait for what is under way. */
export function track<T>(backend: Backend, work: Promise<T>): Promise<T> {
  const { together } = backendState(backend);
  together.add(work);
  const done = () => together.delete(work);
  work.then(done, done);
  return work;
}

/** A caller whose wait is over is given so long (ms) until its grant is confirmed: a slow commit, and no more. */
const LAST_CONFIRMATION = 2_000;

async function permanently(
  backend: Backend,
  outcome: Promise<Outcome>,
  deadline: number,
  signal?: AbortSignal,
): Promise<Outcome> {
  const first = await outcome;
  if (!first.granted) return first;
  const last = deadline === -Infinity ? Infinity : Math.max(deadline, monotonic()) + LAST_CONFIRMATION;
  const [grant] = await makePermanent(backend, [first.grant], signal, last);
  return { granted: true, grant };
}

/** What came of a request for several names: the grants, those that are held by others, and when it was asked. */
export interface Several {
  readonly grants: readonly Grant[];
  readonly busy: readonly (AcquireAnswer & { granted: false })[];
  readonly askedAt: number;
}

/** Takes several names in one request: each that is free, or with `allOrNothing` every one or none. */
export function acquireSeveral(
  backend: Backend,
  names: readonly string[],
  options: ResolvedLockOptions,
  allOrNothing: boolean,
): Promise<Several> {
  const requests = names.map((name) => requestFor(backend, name, options));
  const several = takeSeveral(backend, requests, allOrNothing);
  return track(backend, neverExpires(backend, options) ? severalPermanently(backend, several) : several);
}

async function severalPermanently(backend: Backend, several: Promise<Several>): Promise<Several> {
  const first = await several;
  return first.grants.length === 0 ? first : { ...first, grants: await makePermanent(backend, first.grants) };
}

async function takeSeveral(
  backend: Backend,
  requests: readonly AcquireRequest[],
  allOrNothing: boolean,
): Promise<Several> {
  const batches = backendState(backend);
  if (batches.ended) throw batches.ended;
  const firstAskedAt = monotonic();
  let askedAt = firstAskedAt;
  let unheard = false;
  const send = (requests: readonly AcquireRequest[]) => backend.acquire(requests, { allOrNothing });
  const undo = (request: AcquireRequest) => batches.undoing.undo(request, request.duration, true);
  try {
    const answers = await send(requests).catch((error) => {
      if (!isRetryable(error) || batches.ended) throw error;
      unheard = true;
      askedAt = monotonic();
      return send(requests.map((request) => ({ ...request, repeated: true })));
    });
    if (batches.ended) throw batches.ended;
    if (unheard) requests.filter((_, index) => !answers[index].granted).forEach(undo);
    return sorted(backend, requests, answers, firstAskedAt, askedAt);
  } catch (error) {
    if (isBackendError(error)) requests.forEach(undo);
    throw error;
  }
}

/** Sorts answers by what came of their requests. */
function sorted(
  backend: Backend,
  requests: readonly AcquireRequest[],
  answers: readonly AcquireAnswer[],
  firstAskedAt: number,
  askedAt: number,
): Several {
  const grants: Grant[] = [];
  const busy: Several["busy"][number][] = [];
  answers.forEach((answer, index) => {
    const request = requests[index];
    if (!answer.granted) return void busy.push(answer);
    const { row, session } = answer;
    const claim = { name: request.name, owner: request.owner };
    grants.push({ backend, claim, row, askedAt: leaseStart(request, row, firstAskedAt, askedAt), session });
  });
  return { grants, busy, askedAt };
}

/** Microseconds that a keeper renews a lease by; `undefined` when there is nothing to renew. */
export function renewalOf(backend: Backend, options: ResolvedLockOptions): HeldLock["renewBy"] {
  if (!options.autoRenew || backend.mode === "session") return undefined;
  return durationFor(backend, options) ?? undefined;
}
