import type { Backend } from "../core/backend.ts";
import { Lock as Handle } from "../core/lock/lock.ts";
import { checkBackend, checkOptions } from "../core/options/known_options.ts";
import { durationFor, type ResolvedLockOptions, resolveLockOptions } from "../core/options/options.ts";
import { randomId } from "../core/util/runtime.ts";
import { acquire, renewalOf } from "../core/wait/acquire.ts";
import { type LockRequest, readRequest } from "./arguments.ts";
import { type Clients, clientsOf, type Turn } from "./clients.ts";
import { runUnder } from "./granted.ts";
import { encodeName } from "./names.ts";
import { metadataOf, snapshot } from "./snapshot.ts";
import type { LockInfo, LockManager, LockManagerOptions, LockManagerSnapshot } from "./types.ts";

/** The default of `expires` (s). */
const DEFAULT_EXPIRES_S = 30;

/** The lock manager of one client of a backend. */
class BackendLockManager implements LockManager {
  readonly #backend: Backend;
  readonly #options: ResolvedLockOptions;
  readonly #clientId = randomId();
  readonly #clients: Clients;

  constructor(backend: Backend, options: ResolvedLockOptions) {
    this.#backend = backend;
    this.#options = options;
    this.#clients = clientsOf(backend);
    this.#clients.ids.add(this.#clientId);
  }

  get [Symbol.toStringTag](): string {
    return "LockManager";
  }

  // deno-lint-ignore no-explicit-any -- the overloads of the interface
  async request(...given: unknown[]): Promise<any> {
    const request = readRequest(given);
    const { name, mode, steal, signal } = request;
    const info: LockInfo = { name, mode, clientId: this.#clientId };
    const stolen = this.#clients.stolen(name);
    const turn = this.#clients.enter(info, steal);
    let handle: Handle | null;
    let pending = false;
    const onPending = () => (pending = true, turn.decide());
    try {
      handle = await this.#acquire(request, info, { ...turn, decide: onPending }, stolen);
      turn.decide();
      await (pending ? this.#clients.decided : turn.before); // after a wait, later requests were decided first
    } finally {
      turn.decide();
      this.#clients.pending.delete(info);
    }
    if (handle === null) return await request.callback(null);
    if (signal?.aborted) {
      await handle[Symbol.asyncDispose]();
      throw signal.reason;
    }
    this.#clients.held.set(handle, info);
    return await runUnder(handle, request, this.#clients).finally(() => this.#clients.held.delete(handle));
  }

  async query(): Promise<LockManagerSnapshot> {
    await this.#clients.decided;
    return await snapshot(this.#backend, this.#clients);
  }

  /** Waits for the lock; returns `null` if it is held and the request does not wait. */
  async #acquire(
    { mode, ifAvailable, steal, signal }: LockRequest,
    info: LockInfo,
    turn: Turn,
    stolen: Promise<void> | undefined,
  ): Promise<Handle | null> {
    const encoded = encodeName(info.name);
    const name = typeof encoded === "string" ? encoded : await encoded;
    if (steal) await turn.before; // the holders of earlier requests are to be replaced, too
    else if (stolen) await stolen;
    const options = {
      ...this.#options,
      limit: mode === "shared" ? Infinity : 1,
      steal,
      wait: ifAvailable ? 0 : Infinity,
      signal,
      metadata: this.#backend.mode === "session" ? null : metadataOf(info, name),
      onPending: turn.decide,
    };
    const outcome = await acquire(this.#backend, name, options);
    return outcome.granted ? new Handle(outcome.grant, renewalOf(this.#backend, options)) : null;
  }
}

/**
 * Returns a `LockManager` of the Web Locks API, as `navigator.locks` is one, whose locks are kept by a backend: they
 * exclude each other across processes and hosts, and `getLock` of the same name.
 *
 * Locks are leases, renewed while the callback runs: a lock whose process died is free after `expires` seconds, or at
 * once in `hybrid` mode. When a lock is lost, the request rejects as if it had been stolen.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { lockManager } from "@lockmgr/lockmgr/web-locks";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const locks = lockManager(backend);
 * await locks.request("report", async () => {
 *   await locks.request("report", { ifAvailable: true }, (lock) => assert.equal(lock, null));
 *   const { held } = await locks.query();
 *   assert.deepEqual(held.map(({ name, mode }) => [name, mode]), [["report", "exclusive"]]);
 * });
 * ```
 *
 * @param backend From `connect` or an engine's own function. `"shared"` and `steal` need one with a queue.
 * @param options `expires` is 30 s by default.
 * @throws {TypeError | RangeError} For what is no backend, and for invalid options.
 * @throws {UnsupportedError} For a finite `expires` in `session` mode.
 */
export function lockManager(backend: Backend, options: LockManagerOptions = {}): LockManager {
  checkBackend(backend);
  checkOptions("of lockManager", options, { expires: "number" });
  const { expires = backend.mode === "session" ? undefined : DEFAULT_EXPIRES_S } = options;
  const resolved = resolveLockOptions({ expires, autoRenew: true });
  durationFor(backend, resolved);
  return new BackendLockManager(backend, resolved);
}
