import { BackendError } from "../../../core/errors.ts";
import type { Source } from "../connection/driver.ts";
import { READ_ONLY } from "../rows/fragments.ts";
import { translate } from "../errors.ts";
import type { Session } from "./session.ts";
import { openSession } from "./open_session.ts";
import type { Voucher } from "./voucher.ts";

/**
 * One session that vouches for all hybrid locks of a backend: it keeps one advisory lock with a random key. When the
 * session ends the key is free, and with it every row that names it; a new session takes a new key.
 */
export class Liveness {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #closing = new AbortController();
  #current: Promise<Voucher & { lifeline: Session }> | undefined;

  constructor(source: Source, timeout: number) {
    this.#source = source;
    this.#timeout = timeout;
  }

  /** The voucher for a lock that is to be taken now. */
  async voucher(): Promise<Voucher> {
    for (;;) {
      const opening = this.#current ??= this.#open();
      const current = await opening;
      if (current.lifeline.ended === undefined) return current;
      if (this.#current === opening) this.#current = undefined; // the first of many who find it so opens another
    }
  }

  #open(): Promise<Voucher & { lifeline: Session }> {
    const opening = this.#take();
    opening.catch(() => {
      if (this.#current === opening) this.#current = undefined;
    });
    return opening;
  }

  async #take(): Promise<Voucher & { lifeline: Session }> {
    try {
      const lifeline = await openSession(this.#source, this.#timeout, { signal: this.#closing.signal });
      for (;;) {
        const key = String(crypto.getRandomValues(new BigInt64Array(1))[0]);
        const [row] = await lifeline.send(
          `SELECT pg_try_advisory_lock($1::text::bigint)::text AS taken, ${READ_ONLY}`,
          [key],
        );
        if (row.taken === "true") return { key, pid: lifeline.pid, lifeline };
      }
    } catch (error) {
      throw translate("open a session that vouches for hybrid locks", error);
    }
  }

  /** Ends the session, and with it whatever it vouches for. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session of PostgreSQL: the backend was disposed of"));
    const current = this.#current;
    this.#current = undefined;
    await current?.then(({ lifeline }) => lifeline.close(), () => {});
  }
}
