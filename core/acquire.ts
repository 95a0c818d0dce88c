import type { AcquireRequest, Backend } from "./backend.ts";
import type { Holding } from "./holding.ts";
import { durationFor, type ResolvedLockOptions } from "./options.ts";
import { monotonic, randomId } from "./runtime.ts";
import { type Outcome, stand } from "./waiting.ts";

/** The request for one name that resolved options make on this backend. */
export function requestFor(
  backend: Backend,
  name: string,
  options: ResolvedLockOptions,
  plainNo = false,
): AcquireRequest {
  return {
    name,
    owner: randomId(),
    duration: durationFor(backend, options),
    lockedBy: options.lockedBy,
    lockProcess: options.lockProcess,
    metadata: options.metadata,
    shared: options.shared,
    plainNo,
  };
}

/** Takes one name, waiting in line as long as the options say. `plainNo` is for who does not ask who has it. */
export function acquire(
  backend: Backend,
  name: string,
  options: ResolvedLockOptions,
  plainNo = false,
): Promise<Outcome> {
  options.signal?.throwIfAborted();
  const request = requestFor(backend, name, options, plainNo && options.wait === 0);
  const deadline = options.wait === 0 ? -Infinity : monotonic() + options.wait * 1e3;
  return stand(backend, request, deadline, options.signal);
}

/** Microseconds that a keeper renews a lease by; `undefined` when there is nothing to renew. */
export function renewalOf(backend: Backend, options: ResolvedLockOptions): Holding["renewBy"] {
  if (!options.autoRenew || backend.mode === "session") return undefined;
  return durationFor(backend, options) ?? undefined;
}
