import type { AcquireAnswer, AcquireRequest, Backend } from "../backend.ts";
import { isTraced, traced, traceEach } from "../events/channels.ts";
import type { LockTrace } from "../events/events.ts";
import type { Grant, Outcome } from "../grant.ts";
import { leaseStart } from "../lock/lease.ts";
import { FIRST_DURATION_US, makePermanent } from "../lock/permanent.ts";
import { durationFor, type ResolvedLockOptions } from "../options/options.ts";
import { claimOf } from "../util/requests.ts";
import { isBackendError, isRetryable } from "../util/retry.ts";
import { monotonic, randomId } from "../util/runtime.ts";
import { stateOf } from "./backend_state.ts";
import { queueFor, WaitQueue } from "./wait_queue.ts";

/** How long after its deadline a caller waits until its grant is confirmed as permanent (ms): a slow commit. */
const CONFIRM_WITHIN_MS = 2_000;

/** A waiter that is silent for so long leaves the queue (µs); a living one repeats its request every third of it. */
const QUEUE_WINDOW_US = 15e6;

/** Makes a request for a lock that is to last `wanted` (µs). A row that is never to expire gets a first duration. */
function requestFor(
  backend: Backend,
  name: string,
  wanted: number | null,
  { lockedBy, lockProcess, metadata, limit, steal, keep }: ResolvedLockOptions,
): AcquireRequest {
  const first = wanted === null && backend.mode !== "session" ? FIRST_DURATION_US : wanted;
  const duration = first === null ? null : Math.max(first, keep ?? 0);
  const request = { name, owner: randomId(), duration, lockedBy, lockProcess, metadata, limit };
  if (!steal && keep === undefined) return request;
  return { ...request, ...(steal ? { steal } : {}), ...(keep === undefined ? {} : { keep }) };
}

/** Acquires one name for one caller, after the callers of this process that came before and wait for it. */
export function acquire(backend: Backend, name: string, options: ResolvedLockOptions): Promise<Outcome> {
  if (!isTraced("acquire")) return acquireOne(backend, name, options);
  return traced("acquire", backend, name, async (event) => {
    const outcome = await acquireOne(backend, name, options);
    const { granted, batch, contended } = outcome;
    const token = granted ? outcome.grant.row.token : undefined;
    Object.assign(event!, { outcome: granted ? "granted" : "busy", batch, contended, token });
    return outcome;
  });
}

function acquireOne(backend: Backend, name: string, options: ResolvedLockOptions): Promise<Outcome> {
  const { wait, signal, onPending } = options;
  signal?.throwIfAborted();
  const duration = durationFor(backend, options);
  const attempt = requestFor(backend, name, duration, options);
  const cameAt = monotonic();
  const enters = backend.queueing && wait > 0 && !attempt.steal;
  const request = enters ? { ...attempt, window: QUEUE_WINDOW_US, cameAt } : attempt;
  const deadline = wait === 0 ? -Infinity : cameAt + wait * 1e3;
  const outcome = request.steal
    ? steal(backend, request, deadline, signal)
    : queueFor(backend, name).join(request, deadline, signal, onPending);
  if (duration !== null || request.duration === null) return outcome;
  return stateOf(backend).track(permanently(backend, outcome, deadline, signal));
}

/** Replaces the holders of a name, ahead of the waiters of this process, too. Waits only where a transaction guards them. */
async function steal(
  backend: Backend,
  request: AcquireRequest,
  deadline: number,
  signal?: AbortSignal,
): Promise<Outcome> {
  const state = stateOf(backend);
  const queue = new WaitQueue(backend, request.name);
  const close = () => state.track(queue.close(state.ended!));
  state.watches.add(close);
  try {
    const outcome = await queue.join(request, deadline, signal);
    if (outcome.granted) state.noteStolen(request.name, outcome.grant.row.token);
    return outcome;
  } finally {
    state.watches.delete(close);
  }
}

async function permanently(
  backend: Backend,
  outcome: Promise<Outcome>,
  deadline: number,
  signal?: AbortSignal,
): Promise<Outcome> {
  const first = await outcome;
  if (!first.granted) return first;
  const last = deadline === -Infinity ? Infinity : Math.max(deadline, monotonic()) + CONFIRM_WITHIN_MS;
  const [grant] = await makePermanent(backend, [first.grant], signal, last);
  return { ...first, grant };
}

/** The result of one request for several names. */
export interface SeveralOutcome {
  readonly grants: readonly Grant[];
  /** The answers about names that are held. */
  readonly busy: readonly (AcquireAnswer & { granted: false })[];
  /** Monotonic time (ms) before the request was sent. */
  readonly askedAt: number;
}

/** Acquires several names in one request: each that is free, or with `allOrNothing` every one or none. */
export function acquireSeveral(
  backend: Backend,
  names: readonly string[],
  options: ResolvedLockOptions,
  allOrNothing: boolean,
): Promise<SeveralOutcome> {
  const several = traceEach("acquire", backend, names, async (events) => {
    const duration = durationFor(backend, options);
    const requests = names.map((name) => requestFor(backend, name, duration, options));
    const first = await sendSeveral(backend, requests, allOrNothing);
    const isFinal = first.grants.length === 0 || duration !== null || requests[0].duration === null;
    const outcome = isFinal ? first : { ...first, grants: await makePermanent(backend, first.grants) };
    if (events.length > 0) describeSeveral(events, outcome);
    return outcome;
  });
  return stateOf(backend).track(several);
}

function describeSeveral(events: readonly LockTrace[], { grants }: SeveralOutcome): void {
  const tokens = new Map(grants.map(({ claim, row }) => [claim.name, row.token]));
  for (const event of events) {
    const token = tokens.get(event.name);
    const granted = token !== undefined;
    Object.assign(event, { outcome: granted ? "granted" : "busy", batch: events.length, contended: !granted, token });
  }
}

async function sendSeveral(
  backend: Backend,
  requests: readonly AcquireRequest[],
  allOrNothing: boolean,
): Promise<SeveralOutcome> {
  const state = stateOf(backend);
  if (state.ended) throw state.ended;
  const firstAskedAt = monotonic();
  let askedAt = firstAskedAt;
  let unanswered = false;
  const send = (requests: readonly AcquireRequest[]) => backend.acquire(requests, { allOrNothing });
  const undo = ({ name, owner, duration }: AcquireRequest) => state.undo.add({ name, owner }, duration, true);
  try {
    const answers = await send(requests).catch((error) => {
      if (!isRetryable(error) || state.ended) throw error;
      unanswered = true;
      askedAt = monotonic();
      return send(requests.map((request) => ({ ...request, repeated: true })));
    });
    if (state.ended) throw state.ended;
    if (unanswered) requests.filter((_, index) => !answers[index].granted).forEach(undo);
    const grants = requests.flatMap((request, index): Grant[] => {
      const answer = answers[index];
      if (!answer.granted) return [];
      const { row, session } = answer;
      const start = leaseStart(request, row, firstAskedAt, askedAt);
      return [{ backend, claim: claimOf(request), row, askedAt: start, session }];
    });
    return { grants, busy: answers.filter((answer) => !answer.granted), askedAt };
  } catch (error) {
    if (isBackendError(error)) requests.forEach(undo);
    throw error;
  }
}

/** Returns the microseconds of each automatic renewal; `undefined` when there is nothing to renew. */
export function renewalOf(backend: Backend, options: ResolvedLockOptions): number | undefined {
  if (!options.autoRenew || backend.mode === "session") return undefined;
  return durationFor(backend, options) ?? undefined;
}
