import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockActivity,
  LockRef,
  LockRow,
  OwnedLock,
  RenewRequest,
} from "../../core/backend.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { byCodePoint } from "../../core/util/order.ts";
import { closeLocks } from "../../core/wait/close_locks.ts";
import type { Session } from "./session.ts";
import type { SessionEngine } from "./session_engine.ts";
import { SessionLocks } from "./session_locks.ts";

/** Locks that the server ties to a dedicated connection of ours; each connection carries many. */
export class SessionBackend<S extends Session> implements Backend {
  readonly engine: string;
  readonly mode = "session";
  readonly #engine: SessionEngine<S>;
  readonly #locks: SessionLocks<S>;

  constructor(engine: SessionEngine<S>) {
    this.engine = engine.name;
    this.#engine = engine;
    this.#locks = new SessionLocks(engine);
  }

  acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    return allOrNothing ? this.#locks.acquireAll(requests) : this.#locks.acquire(requests);
  }

  release(targets: readonly LockRef[]): Promise<boolean[]> {
    return this.#locks.release(targets);
  }

  renew(_requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const message = 'Cannot renew in "session" mode: it has no row; want "lease" or "hybrid"';
    return Promise.reject(new UnsupportedError(message));
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const wanted = new Set(names);
    const isListed = (name: string) => name.startsWith(prefix) && (names === undefined || wanted.has(name));
    const rows = this.#locks.rows.filter(({ name }) => isListed(name));
    for (const { name } of rows) wanted.delete(name);
    if (wanted.size > 0) rows.push(...await this.#engine.listOthers([...wanted]));
    return rows.sort((one, other) => byCodePoint(one.name, other.name));
  }

  /** Session locks do not expire. */
  clean(scope: "expired" | "all"): Promise<number> {
    if (scope === "expired") return Promise.resolve(0);
    const message = 'Cannot remove every lock in "session" mode: want "lease" or "hybrid"';
    return Promise.reject(new UnsupportedError(message));
  }

  verify(claim: OwnedLock): Promise<boolean> {
    return this.#locks.verify(claim);
  }

  watch(name: string, wake: () => void): Promise<Disposable> {
    return this.#engine.watch(name, wake);
  }

  observe(names: readonly string[]): Promise<LockActivity[]> {
    return this.#engine.observe(names);
  }

  diagnose(): Promise<Diagnostic[]> {
    return this.#engine.diagnose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      await Promise.all([this.#engine.pool.close(), this.#engine.close(this)]);
    });
  }
}
