import type { AcquireAnswer, AcquireRequest, Backend, LockRef, LockRow, OwnedLock, RenewRequest } from "../backend.ts";
import { BackendError } from "../errors.ts";
import type { Outcome } from "../grant.ts";
import { withDeadline } from "../util/deadline.ts";
import { LruMap } from "../util/lru_map.ts";
import { defer } from "../util/runtime.ts";
import { RequestBatcher } from "./batcher.ts";
import { Undo } from "./undo.ts";

/** How long a disposal waits for requests in flight and for its releases (ms): the engine has 0.5 s of 2 s to close. */
const RELEASE_WITHIN_MS = 1_500;
/** Idle queues that are kept: one that is dropped only forgets that other processes compete for its name. */
const IDLE_QUEUES = 1_024;
/** Locks that are added to those held before the expired ones are removed. */
const SWEEP_AFTER = 1_024;

/** The waiters of this process for one name. */
export interface NameQueue {
  /** Whether there are waiters, or a request is in flight. */
  readonly running: boolean;
  /** The request by which the next waiter joins the database's queue, while it is in flight. */
  readonly joining: Promise<unknown> | undefined;
  /**
   * Adds a waiter until the deadline (ms, monotonic; `-Infinity` for one attempt), and returns its outcome. `onPending`
   * is called once an answer says that it has to wait.
   */
  join(request: AcquireRequest, deadline: number, signal?: AbortSignal, onPending?: () => void): Promise<Outcome>;
  /** Tries again: the name may be free. */
  wake(): void;
  /** Notes that this process has released the name, and tries again. */
  noteRelease(): void;
  /** Ends every wait with an error; resolves when no request is in flight. */
  close(reason: BackendError): Promise<void>;
}

/** A lock that ends with its backend. */
export interface Held {
  /** The name and owner. */
  readonly claim: OwnedLock;
  /** The token. */
  readonly token: bigint;
  /** Whether this process may act as the holder; the answer `false` signals the loss. */
  readonly held: boolean;
  /** Ends it as lost, and signals that. */
  lose(reason: string): void;
  /** Ends the lock; returns what is to be released, `undefined` if nothing is. */
  endWithBackend(): OwnedLock | undefined;
}

/** What this process does on one backend. */
export class BackendState {
  readonly acquire: RequestBatcher<AcquireRequest, AcquireAnswer>;
  readonly renew: RequestBatcher<RenewRequest, LockRow | undefined>;
  readonly release: RequestBatcher<LockRef, boolean>;
  /** The queues by name. */
  readonly queues: LruMap<string, NameQueue> = new LruMap(IDLE_QUEUES, ({ running }) => running);
  /** Releases what was granted, or may have been, to callers who were told something else. */
  readonly undo: Undo;
  /** Requests outside of the batchers that a disposal waits for. */
  readonly pending: Set<Promise<unknown>> = new Set();
  /** Called when the backend is disposed of: each ends a watch. */
  readonly watches: Set<() => void> = new Set();
  /** The locks that are held through this backend. */
  readonly held: Set<Held> = new Set();
  /** Why no more is acquired; `undefined` until the backend is disposed of. */
  ended: BackendError | undefined;
  #sweepAt = SWEEP_AFTER;
  /** The tokens of the locks that have replaced others of their names, by name. */
  readonly #stolen = new LruMap<string, bigint>(IDLE_QUEUES);

  constructor(backend: Backend) {
    this.acquire = new RequestBatcher(
      (requests) => backend.acquire(requests),
      (request) => ({ ...request, repeated: true }),
    );
    this.renew = new RequestBatcher((requests) => backend.renew(requests));
    this.release = new RequestBatcher((locks) => backend.release(locks));
    this.undo = new Undo(
      async (lock) => (await this.release.send(lock)).answer,
      (name) => this.queues.get(name)?.wake(),
    );
  }

  /** Adds a lock that is held through this backend. Its answer may have come after that of one that replaced it. */
  addHeld(lock: Held): void {
    this.held.add(lock);
    this.#loseStolen(lock);
    if (this.held.size <= this.#sweepAt) return;
    // A handle that was dropped is never released: its lock is removed once it has expired.
    for (const each of this.held) if (!each.held) this.held.delete(each);
    this.#sweepAt = 2 * this.held.size + SWEEP_AFTER;
  }

  /** Notes that an acquisition was released through its record: the handle in this process, if there is one, lost it. */
  noteForced(name: string, token: bigint): void {
    for (const held of this.held) {
      if (held.token === token && held.claim.name === name) held.lose("it was released through its record");
    }
  }

  /** Notes that the holders of a name were replaced: the handles in this process of those before lost it. */
  noteStolen(name: string, token: bigint): void {
    if (token > (this.#stolen.get(name) ?? 0n)) this.#stolen.set(name, token);
    for (const held of this.held) this.#loseStolen(held);
  }

  #loseStolen(held: Held): void {
    const token = this.#stolen.get(held.claim.name);
    if (token !== undefined && held.token < token) held.lose("another client stole it");
  }

  /** Makes a disposal wait for some work. */
  track<T>(work: Promise<T>): Promise<T> {
    this.pending.add(work);
    const done = () => this.pending.delete(work);
    work.then(done, done);
    return work;
  }

  /** Ends the waiters, and releases what is held or still granted; returns what could not be released in time. */
  async close(): Promise<readonly OwnedLock[]> {
    this.ended = new BackendError("Cannot acquire a lock: the backend was disposed of");
    for (const wake of this.watches) wake();
    await withDeadline(RELEASE_WITHIN_MS, this.#releaseAll(this.ended));
    return this.undo.stop();
  }

  async #releaseAll(reason: BackendError): Promise<void> {
    const inFlight: Promise<unknown>[] = [...this.pending];
    for (const queue of new Set(this.queues.values())) inFlight.push(queue.close(reason));
    for (const lock of this.held) {
      const claim = lock.endWithBackend();
      if (claim) this.undo.add(claim, null, false);
    }
    await Promise.allSettled(inFlight);
    await new Promise<void>((resolve) => defer(resolve)); // grants that have not reached their callers yet
    await this.undo.finish();
  }
}

/** The uses of one backend by all copies of this package in the program; its disposal ends them. */
export interface Uses {
  readonly states: Set<Pick<BackendState, "close">>;
  /** The disposal. */
  closing?: Promise<void>;
}

const USES: unique symbol = Symbol.for("@lockmgr/lockmgr/uses");
const allUses = (globalThis as { [USES]?: WeakMap<Backend, Uses> })[USES] ??= new WeakMap();

/** Returns the uses of a backend by all copies of this package. */
export function usesOf(backend: Backend): Uses {
  let uses = allUses.get(backend);
  if (uses === undefined) allUses.set(backend, uses = { states: new Set() });
  return uses;
}

const states = new WeakMap<Backend, BackendState>();

/** Returns what this copy of the package does on a backend. */
export function stateOf(backend: Backend): BackendState {
  let state = states.get(backend);
  if (state === undefined) {
    states.set(backend, state = new BackendState(backend));
    const uses = usesOf(backend);
    uses.states.add(state);
    if (uses.closing) void state.close();
  }
  return state;
}
