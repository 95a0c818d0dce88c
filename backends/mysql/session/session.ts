import type { SessionHandle } from "../../../core/backend.ts";
import { monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";
import { type Connection, driverError } from "../connection/connection.ts";
import type { Connector } from "../connection/connector.ts";
import type { Answer } from "../connection/driver.ts";
import { notPrimary } from "../errors.ts";
import { READ_ONLY } from "../connection/server.ts";

/** The share of `sessionTimeout` without an answer after which the locks are given up, before the server frees them. */
const GIVE_UP_SHARE = 0.9;

/**
 * A connection that locks ride on. The server frees them when it has heard nothing for `sessionTimeout`; this side asks
 * for a sign of life every third of that and gives the locks up after nine tenths, so that the holder knows first.
 */
export class SessionConnection implements SessionHandle {
  readonly #connection: Connection;
  readonly #third: number;
  readonly #giveUpAfter: number;
  #heardAt: number;
  #timer: Timer | undefined;

  private constructor(connector: Connector, connection: Connection, timeout: number, openedAt: number) {
    this.#connection = connection;
    this.#third = timeout * 1e3 / 3;
    this.#giveUpAfter = timeout * 1e3 * GIVE_UP_SHARE;
    this.#heardAt = openedAt;
    const stop = connector.onDoubt(() => this.#beatNow());
    connection.onEnd(() => {
      this.#timer?.stop();
      stop();
    });
    this.#beatLater();
  }

  /** Opens one. */
  static async open(connector: Connector, what: string): Promise<SessionConnection> {
    const { sessionTimeout } = connector.target.options;
    return SessionConnection.over(connector, await connector.connect(what, sessionTimeout), sessionTimeout);
  }

  /** Looks after a connection that was opened to end after `timeout` seconds without a word, and has just answered. */
  static over(connector: Connector, connection: Connection, timeout: number): SessionConnection {
    return new SessionConnection(connector, connection, timeout, monotonic());
  }

  /** The server's id of the connection. */
  get id(): number {
    return this.#connection.id;
  }

  /** Why it ended, or why its locks can no longer be believed; `undefined` while it lives. */
  get ended(): Error | undefined {
    if (!this.#connection.ended && monotonic() - this.#heardAt > this.#giveUpAfter) this.#silent();
    return this.#connection.ended;
  }

  /** Calls `listener` once when it ends. */
  onEnd(listener: () => void): () => void {
    return this.#connection.onEnd(listener);
  }

  /** Sends one statement that never waits for a lock. */
  async query(sql: string): Promise<Answer> {
    const sentAt = monotonic();
    const answer = await this.#connection.query(sql);
    this.#heardAt = Math.max(this.#heardAt, sentAt);
    return answer;
  }

  /**
   * Sends a SELECT without FROM, and ends the connection where the server takes no writes: it grants locks all the same,
   * and so does the primary.
   */
  async queryPrimary(select: string): Promise<Answer> {
    const answer = await this.query(`${select}, ${READ_ONLY} AS read_only`);
    this.#requirePrimary(answer);
    return answer;
  }

  #requirePrimary({ rows: [row] }: Answer): void {
    if (row.at(-1) === "0") return;
    const error = notPrimary();
    this.end(error);
    throw error;
  }

  /** Ends it; the server frees its locks. `orderly` is an end that the server is bound to notice. */
  end(reason: Error, orderly = false): void {
    this.#connection.end(reason, orderly);
  }

  /** Waits, within a bound, until the server has freed the locks of a connection that has ended. */
  async gone(connector: Connector): Promise<boolean> {
    return await connector.gone(this.#connection);
  }

  #silent(): void {
    this.end(driverError("ETIMEDOUT", `nothing was heard of the server for ${this.#giveUpAfter / 1e3} s`));
  }

  #beatLater(): void {
    this.#timer = startTimer(this.#third, () => this.#beat(), false);
  }

  #beatNow(): void {
    this.#timer?.stop();
    void this.#beat();
  }

  /** Any answer is a sign of life, also that the statement was killed; but locks of a server that is read-only are none. */
  async #beat(): Promise<void> {
    const sentAt = monotonic();
    try {
      const answer = await this.#connection.query(
        `SELECT ${READ_ONLY}`,
        Math.max(1, this.#heardAt + this.#giveUpAfter - sentAt),
      );
      this.#requirePrimary(answer);
    } catch {
      if (this.#connection.ended) return;
    }
    this.#heardAt = Math.max(this.#heardAt, sentAt);
    this.#timer?.stop();
    this.#beatLater();
  }
}
