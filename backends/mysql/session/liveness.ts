import type { SessionHandle } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { randomId } from "../../../core/util/runtime.ts";
import type { Connector } from "../connection/connector.ts";
import { translate } from "../errors.ts";
import { SessionConnection } from "./session.ts";
import { bytes } from "../connection/sql.ts";
import type { Voucher } from "../rows/acquire_statements.ts";

/** A live connection with the lock that vouches for rows. */
export interface Session {
  /** What the rows name. */
  readonly voucher: Voucher;
  /** Tells when it ends. */
  readonly lifeline: SessionHandle;
}

/** The one connection that vouches for all `hybrid` locks of a backend; a new one when it has ended. */
export class Sessions {
  readonly #connector: Connector;
  #opening: Promise<Session> | undefined;
  #current: (Session & { readonly connection: SessionConnection }) | undefined;

  constructor(connector: Connector) {
    this.#connector = connector;
  }

  /** The session that vouches for new locks. */
  async voucher(what: string): Promise<Session> {
    if (this.#current && !this.#current.connection.ended) return this.#current;
    this.#opening ??= this.#open(what).finally(() => this.#opening = undefined);
    return await this.#opening;
  }

  /** Ends a session that the server no longer has, so that its holders are told and the next request opens another. */
  endLost(session: Session): void {
    if (this.#current?.voucher !== session.voucher) return;
    this.#current.connection.end(new BackendError("Cannot go on: the server ended the session"));
  }

  /** Ends the connection, and with it every lock that it vouches for. */
  close(): void {
    this.#current?.connection.end(new BackendError("Cannot go on: the backend was disposed of"), true);
  }

  async #open(what: string): Promise<Session> {
    // Until the server knows of its end, its rows are as good as held.
    await this.#current?.connection.gone(this.#connector);
    const connection = await SessionConnection.open(this.#connector, what);
    const name = `lockmgr:${randomId()}`;
    try {
      this.#connector.require(this.#connector.known!, "hybrid");
      const { rows } = await connection.query(
        `SELECT GET_LOCK(CONVERT(${bytes(name)} USING utf8mb4), 0), CONNECTION_ID()`,
      );
      if (rows[0][0] !== "1") throw new BackendError(`Cannot ${what}: the server refused a lock for the session`);
      const voucher = { name, connectionId: Number(rows[0][1]) };
      this.#current = { voucher, lifeline: connection, connection };
      return this.#current;
    } catch (error) {
      connection.end(error as Error);
      throw translate(what, error);
    }
  }
}
