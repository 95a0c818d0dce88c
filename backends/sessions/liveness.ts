import { BackendError } from "../../core/errors.ts";
import { type Once, once, usable } from "../../core/util/once.ts";
import type { Session } from "./session.ts";

/** The liveness lock of `hybrid` mode: rows name its key, and are free as soon as the session that carries it has ended. */
export interface LivenessLock {
  /** The server's key of the lock. */
  readonly key: string;
  /** The session that carries it. */
  readonly session: Session;
}

/** The one liveness lock of a backend; a new one, under a new key, when its session has ended. */
export class Liveness {
  readonly #opened: Once<[], LivenessLock>;
  readonly #closing = new AbortController();

  /** @param open Opens a session and acquires a lock with a random key, unless the signal aborts before. */
  constructor(open: (signal: AbortSignal) => Promise<LivenessLock>) {
    this.#opened = once(() => open(this.#closing.signal));
  }

  /** The lock that new rows are to name. */
  lock(): Promise<LivenessLock> {
    return usable(this.#opened, ({ session }) => session.ended === undefined);
  }

  /** Ends the session, and with it every row that names its lock. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session: the backend was disposed of"));
    await this.#opened.current?.then(({ session }) => session.close(), () => {});
    this.#opened.clear();
  }
}
