/**
 * What the lock managers of this process request from one backend, in the order in which they do.
 *
 * @module
 */
import type { Backend } from "../core/backend.ts";
import type { Lock } from "../core/lock/lock.ts";
import type { LockInfo } from "./types.ts";

/** The place of a request in the order. A request is decided once it is granted, waits, or has failed. */
export interface Turn {
  /** Resolves when every earlier request is decided. */
  readonly before: Promise<void>;
  /** Notes that this request is decided. */
  decide(): void;
}

/**
 * The lock managers of one backend. The standard decides requests in one order for all names, and calls their callbacks
 * in it. Here requests are sent at once, and callbacks wait until the requests before them are decided.
 */
export class Clients {
  readonly ids: Set<string> = new Set();
  /** The requests that wait. */
  readonly pending: Set<LockInfo> = new Set();
  /** The locks that are held. They stay referenced: one that is garbage collected is no longer renewed. */
  readonly held: Map<Lock, LockInfo> = new Map();
  #decided: Promise<void> = Promise.resolve();
  /** The same by name, for names with requests that are not decided. */
  readonly #decidedByName = new Map<string, Promise<unknown>>();
  /** The last request by name that steals, until it is decided: later requests for the name wait for it. */
  readonly #steals = new Map<string, Promise<void>>();

  /** Adds a request to those that wait. */
  enter(info: LockInfo, steal: boolean): Turn {
    const before = this.#decided;
    let decide!: () => void;
    const decided = new Promise<void>((resolve) => decide = resolve);
    this.#decided = before.then(() => decided);
    this.pending.add(info);
    keep(this.#decidedByName, info.name, Promise.all([this.#decidedByName.get(info.name), decided]));
    if (steal) keep(this.#steals, info.name, decided);
    return { before, decide };
  }

  /** Resolves when every request so far is decided. */
  get decided(): Promise<void> {
    return this.#decided;
  }

  /** Resolves when every request for the name so far is decided; `undefined` if all are. */
  decidedFor(name: string): Promise<unknown> | undefined {
    return this.#decidedByName.get(name);
  }

  /** Resolves when the name has been stolen by the earlier requests that want to; `undefined` if there are none. */
  stolen(name: string): Promise<void> | undefined {
    return this.#steals.get(name);
  }
}

/** Keeps a promise by name until it resolves, unless another takes its place. */
function keep<T>(promises: Map<string, Promise<T>>, name: string, promise: Promise<T>): void {
  promises.set(name, promise);
  promise.then(() => promises.get(name) === promise && promises.delete(name));
}

const clients = new WeakMap<Backend, Clients>();

/** Returns the lock managers of a backend. */
export function clientsOf(backend: Backend): Clients {
  let found = clients.get(backend);
  if (found === undefined) clients.set(backend, found = new Clients());
  return found;
}
