import type { Backend, NextHolder, OwnedLock, RenewRequest } from "../backend.ts";
import { backendOf } from "../connect.ts";
import { LockNotFound } from "../errors.ts";
import { traced } from "../events/channels.ts";
import type { Grant } from "../grant.ts";
import { claimIn } from "../lock/detached.ts";
import { Lock } from "../lock/lock.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { type AdoptOptions, extension, requireAdoption, resolveHolder } from "../options/options.ts";
import { isBackendError, retryOnce } from "../util/retry.ts";
import { randomId } from "../util/runtime.ts";
import { stateOf } from "../wait/backend_state.ts";

/**
 * Takes over a lock that another process has detached, so one process begins a job and another one ends it under the
 * same lock and fencing token.
 *
 * @example
 * ```ts
 * import { adoptLock, connect, getLock, LockNotFound } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("report:7", { backend });
 * const text = lock.detach(); // send it to the worker
 * assert.equal(lock.held, false);
 *
 * await using adopted = await adoptLock(text, { backend }); // in the worker
 * assert.equal(adopted.token, lock.token);
 * await assert.rejects(adoptLock(text, { backend }), LockNotFound); // it works once
 * ```
 *
 * @param detached What `detach()` returned.
 * @param options `expires` is 600 s by default, from now, and never shortens the lease.
 * @throws {LockNotFound} When the lock was adopted before, was released, or has expired.
 * @throws {BackendError} When the database could not answer. A lock that was adopted nevertheless is released.
 * @throws {UnsupportedError} In `session` and `hybrid` mode.
 * @throws {TypeError | RangeError} For another text or an invalid option, before anything is asked of the database.
 */
export async function adoptLock(detached: string, options: AdoptOptions = {}): Promise<Lock> {
  checkVerbOptions("adoptLock", options);
  const from = claimIn(detached);
  const to = { owner: randomId(), ...resolveHolder(options) };
  const more = extension(options);
  const backend = await backendOf(options);
  requireAdoption(backend, `adopt lock ${JSON.stringify(from.name)}`);
  const grant = await stateOf(backend).track(traced("acquire", backend, from.name, async (event) => {
    const grant = await adopt(backend, from, to, more);
    if (event) Object.assign(event, { outcome: "granted", token: grant.row.token, batch: 1 });
    return grant;
  }));
  return new Lock(grant, options.autoRenew && more.add !== null ? more.add : undefined);
}

/** Makes the new owner the holder, and extends its lease. */
async function adopt(
  backend: Backend,
  from: OwnedLock,
  to: NextHolder,
  more: Pick<RenewRequest, "from" | "add">,
): Promise<Grant> {
  const { name } = from;
  const claim = { ...from, owner: to.owner };
  const state = stateOf(backend);
  try {
    await retryOnce(() => backend.adopt!(from, to));
    const { answer, askedAt } = await state.renew.send({ name, owner: to.owner, ...more });
    if (answer) return { backend, claim, row: answer, askedAt };
  } catch (error) {
    if (isBackendError(error)) state.undo.add(claim, null, true);
    throw error;
  }
  const why = "it was adopted before, was released, or has expired";
  throw new LockNotFound(name, `Cannot adopt lock ${JSON.stringify(name)}: ${why}`);
}
