/**
 * Uses the library as any program does, and writes down what it asked and what it was told.
 *
 * @module
 */
import {
  adoptLock,
  type Backend,
  cleanLocks,
  listLocks,
  type Lock,
  Locked,
  LockError,
  LockNotFound,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import { appendFileSync } from "node:fs";
import { sharedClock } from "./clock.ts";
import type { Completed, HistoryEvent, Invoked } from "./events.ts";

/** Where events go. */
export type Sink = (event: HistoryEvent) => void;

/** A file with one event a line. Each is in the kernel's hands before the next step: no SIGKILL takes a whole one back. */
export function fileSink(path: string): Sink {
  return (event) => appendFileSync(path, `${JSON.stringify(event)}\n`);
}

/** What an operation came to, besides its outcome. */
type Found = Pick<Completed, "granted" | "listed" | "error"> & { readonly outcome: Completed["outcome"] };

/** How a lock is asked for. */
export interface Wish {
  /** Seconds; `null` never expires, `undefined` where the mode has no expiry. */
  readonly expires?: number | null;
  /** Seconds. */
  readonly wait?: number;
  readonly autoRenew?: boolean;
  readonly shared?: boolean;
  readonly limit?: number;
  /** Ends the attempt. */
  readonly signal?: AbortSignal;
}

/** The reason that a worker aborts an attempt with. */
export class Aborted extends Error {}

/** One worker's hand on the library. */
export class Recorder {
  /** The worker's name, as in the history. */
  readonly worker: string;
  readonly backend: Backend;
  /** The acquisitions (`lockedBy`) that have waited in the database's queue. */
  readonly queued = new Set<string>();
  readonly #sink: Sink;
  readonly #first: number;
  #operations: number;

  /** @param first The number of the first operation: each backend of a worker has numbers of its own. */
  constructor(worker: string, backend: Backend, sink: Sink, first = 1) {
    this.#first = first;
    this.#operations = first - 1;
    this.worker = worker;
    this.backend = backend;
    this.#sink = sink;
    this.#noteQueued();
  }

  /** Has the backend tell when one of this worker's acquisitions waits in the database's queue. */
  #noteQueued(): void {
    const { worker, backend } = this;
    const acquire = backend.acquire.bind(backend);
    backend.acquire = async (requests, options) => {
      const answers = await acquire(requests, options);
      for (const [index, { lockedBy }] of requests.entries()) {
        const answer = answers[index];
        if (answer.granted || answer.position === undefined || this.queued.has(lockedBy)) continue;
        if (!lockedBy.startsWith(`${worker}/`)) continue; // tests may share one backend
        this.queued.add(lockedBy);
        this.#sink({ kind: "queued", at: sharedClock(), worker, lockedBy });
      }
      return answers;
    };
  }

  /** Disposes of the backend. */
  async close(): Promise<void> {
    const { worker } = this;
    const from = sharedClock();
    await this.backend[Symbol.asyncDispose]();
    this.#sink({ kind: "closed", from, at: sharedClock(), worker, operations: [this.#first, this.#operations] });
  }

  /** Runs one operation between its two events. */
  async #operation<T>(
    what: Omit<Invoked, "kind" | "at" | "worker" | "id">,
    work: (lockedBy: string) => Promise<[Found, T]>,
  ): Promise<T | undefined> {
    const id = ++this.#operations;
    const { worker } = this;
    const lockedBy = `${worker}/${id}`;
    this.#sink({ kind: "invoked", at: sharedClock(), worker, id, ...what, lockedBy });
    const complete = (found: Found) => this.#sink({ kind: "completed", at: sharedClock(), worker, id, ...found });
    try {
      const [found, value] = await work(lockedBy);
      complete(found);
      return value;
    } catch (error) {
      if (!(error instanceof LockError) && !(error instanceof Aborted)) throw error; // a defect: the test must break
      const answered = error instanceof Locked || error instanceof LockNotFound;
      complete({ outcome: answered ? "not done" : "unknown", error: error.message });
      return undefined;
    }
  }

  /** Takes a lock, if it can be had. `listen` has its loss told. */
  async acquire(name: string, wish: Wish = {}, listen = true): Promise<Lock | undefined> {
    const { expires, wait, autoRenew, signal, ...sharing } = wish;
    const limit = sharing.shared ? null : sharing.limit;
    const lock = await this.#operation(
      { verb: "acquire", names: [name], expires, wait, autoRenew, limit },
      async (lockedBy) => {
        const options = { wait, autoRenew, lockedBy, signal, ...sharing, ...expires === undefined ? {} : { expires } };
        const lock = await tryLock(name, { backend: this.backend, ...options });
        if (lock === undefined) return [{ outcome: "not done" }, undefined];
        return [{ outcome: "done", granted: [{ name, token: String(lock.token) }] }, lock];
      },
    );
    if (lock) this.#begin(lock, listen);
    return lock;
  }

  #begin(lock: Lock, listen: boolean): void {
    const { name, token } = { name: lock.name, token: String(lock.token) };
    const { worker } = this;
    const at = sharedClock();
    const { held } = lock;
    this.#sink({ kind: "hold began", at, worker, name, token, held, listening: listen });
    if (listen) this.#listen(lock);
  }

  #listen(lock: Lock): void {
    const { worker } = this;
    const { name, token } = { name: lock.name, token: String(lock.token) };
    const tell = () => {
      const reason = String(lock.signal.reason?.message);
      if (!reason.endsWith("it was detached")) {
        this.#sink({ kind: "loss told", at: sharedClock(), worker, name, token, reason });
      }
    };
    if (lock.signal.aborted) tell();
    else lock.signal.addEventListener("abort", tell, { once: true });
  }

  /** Whether this process takes itself for the holder. The moment is read first, so that it cannot be too late. */
  believes(lock: Lock): boolean {
    const at = sharedClock();
    if (!lock.held) return false;
    this.#sink({ kind: "believed", at, worker: this.worker, name: lock.name, token: String(lock.token) });
    return true;
  }

  /** Gives a lock back. */
  async release(lock: Lock): Promise<boolean | undefined> {
    this.believes(lock);
    const { name, token } = { name: lock.name, token: String(lock.token) };
    this.#sink({ kind: "hold ended", at: sharedClock(), worker: this.worker, name, token });
    return await this.#operation({ verb: "release", names: [name], token }, async () => {
      const released = await lock.unlock();
      return [{ outcome: released ? "done" : "not done" }, released];
    });
  }

  /** Extends a lock. */
  async renew(lock: Lock, expires: number): Promise<boolean> {
    const { name, token } = { name: lock.name, token: String(lock.token) };
    return await this.#operation({ verb: "renew", names: [name], token, expires }, async () => {
      await lock.renew({ expires });
      return [{ outcome: "done" }, true];
    }) ?? false;
  }

  /** Detaches a lock and adopts it, as a renewal by another handle of the same acquisition. */
  async handOver(lock: Lock, expires: number): Promise<Lock | undefined> {
    const { name, token } = { name: lock.name, token: String(lock.token) };
    const at = sharedClock();
    const adopted = await this.#operation({ verb: "renew", names: [name], token, expires }, async () => {
      const adopted = await adoptLock(lock.detach(), { backend: this.backend, expires, lockedBy: lock.lockedBy });
      this.#listen(adopted);
      return [{ outcome: "done" }, adopted];
    });
    if (adopted === undefined) this.#sink({ kind: "hold ended", at, worker: this.worker, name, token });
    return adopted;
  }

  /** Asks the server about a lock. */
  async verify(lock: Lock): Promise<boolean | undefined> {
    const { name, token } = { name: lock.name, token: String(lock.token) };
    return await this.#operation({ verb: "verify", names: [name], token }, async () => {
      const held = await lock.verify();
      return [{ outcome: held ? "done" : "not done" }, held];
    });
  }

  /** Takes several names or none. */
  async set(names: readonly string[], expires: number): Promise<Lock[] | undefined> {
    const locks = await this.#operation({ verb: "set", names, expires }, async (lockedBy) => {
      const { locks } = await setLock(names, { backend: this.backend, expires, fail: true, renew: false, lockedBy });
      const granted = locks.map(({ name, token }) => ({ name, token: String(token) }));
      return [{ outcome: "done", granted }, locks as Lock[]];
    });
    for (const lock of locks ?? []) this.#begin(lock, true);
    return locks;
  }

  /** Looks at everything that is held. */
  async list(): Promise<void> {
    await this.#operation({ verb: "list", names: [] }, async () => {
      const records = await listLocks({ backend: this.backend });
      const listed = records.map(({ name, token, lockedBy, expiresIn: left, limit }) => {
        return { name, token: String(token), lockedBy, left, limit: limit === Infinity ? null : limit };
      });
      return [{ outcome: "done", listed }, undefined];
    });
  }

  /** Clears lapsed locks away. */
  async clean(): Promise<void> {
    await this.#operation({ verb: "clean", names: [] }, async () => {
      await cleanLocks({ backend: this.backend });
      return [{ outcome: "done" }, undefined];
    });
  }

  /** Frees a name, whoever holds it. */
  async force(name: string): Promise<void> {
    await this.#operation({ verb: "force", names: [name] }, async () => {
      const freed = await unlock(name, { backend: this.backend });
      return [{ outcome: freed ? "done" : "not done" }, undefined];
    });
  }
}
