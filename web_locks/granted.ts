import type { Lock as Handle } from "../core/lock/lock.ts";
import { endedByProgram } from "../core/lock/held_lock.ts";
import type { LockLost } from "../core/errors.ts";
import type { LockRequest } from "./arguments.ts";
import type { Clients } from "./clients.ts";
import type { Lock, LockMode } from "./types.ts";

/** What a callback gets. */
class GrantedLock implements Lock {
  readonly #request: LockRequest;
  readonly #handle: Handle;

  constructor(request: LockRequest, handle: Handle) {
    this.#request = request;
    this.#handle = handle;
  }

  get name(): string {
    return this.#request.name;
  }

  get mode(): LockMode {
    return this.#request.mode;
  }

  get token(): bigint {
    return this.#handle.token;
  }

  get signal(): AbortSignal {
    return this.#handle.signal;
  }

  get [Symbol.toStringTag](): string {
    return "Lock";
  }
}

/** The error of a request whose lock is gone; its `cause` is the `LockLost`. */
function brokenBy(loss: LockLost, isStolen: boolean): DOMException {
  const message = isStolen ? "Lock broken by another request with the 'steal' option." : loss.message;
  const error = new DOMException(message, "AbortError");
  Object.defineProperty(error, "cause", { value: loss, configurable: true, writable: true });
  return error;
}

/**
 * Runs the callback of a request under its lock, and releases that. It rejects as soon as the lock is lost, unless its
 * backend was disposed of, which is no failure of the callback. A release that fails is a warning, and the lock expires.
 */
export function runUnder(handle: Handle, request: LockRequest, clients: Clients): Promise<unknown> {
  const { signal } = handle;
  return new Promise((resolve, reject) => {
    const onLoss = () => {
      if (!endedByProgram(signal.reason)) reject(brokenBy(signal.reason, clients.stolen(request.name) !== undefined));
    };
    const run = async () => {
      try {
        return await request.callback(new GrantedLock(request, handle));
      } catch (error) {
        signal.removeEventListener("abort", onLoss); // a loss that the release finds does not hide the error
        throw error;
      } finally {
        if (request.mode === "exclusive") await clients.decidedFor(request.name); // these find it held
        await handle[Symbol.asyncDispose]();
      }
    };
    if (signal.aborted) onLoss();
    else signal.addEventListener("abort", onLoss, { once: true });
    run().then(resolve, reject);
  });
}
