import type { Lifeline } from "../../core/backend.ts";
import { monotonic, startTimer, type Timer } from "../../core/runtime.ts";
import { type Connection, driverError } from "./connection.ts";
import type { Connector } from "./connector.ts";
import type { Answer } from "./driver.ts";

/**
 * A connection that locks ride on. The server frees them when it has heard nothing for `sessionTimeout`; this side asks
 * for a sign of life every third of that and gives the locks up after two thirds, so that the holder knows first.
 */
export class SessionConnection implements Lifeline {
  readonly #connection: Connection;
  readonly #third: number;
  #heardAt: number;
  #timer: Timer | undefined;

  private constructor(connection: Connection, timeout: number, openedAt: number) {
    this.#connection = connection;
    this.#third = timeout * 1e3 / 3;
    this.#heardAt = openedAt;
    connection.onEnd(() => this.#timer?.stop());
    this.#beatLater();
  }

  /** Opens one. */
  static async open(connector: Connector, what: string): Promise<SessionConnection> {
    const { sessionTimeout } = connector.target.options;
    return SessionConnection.over(await connector.connect(what, sessionTimeout), sessionTimeout);
  }

  /** Looks after a connection that was opened to end after `timeout` seconds without a word, and has just answered. */
  static over(connection: Connection, timeout: number): SessionConnection {
    return new SessionConnection(connection, timeout, monotonic());
  }

  /** The server's id of the connection. */
  get id(): number {
    return this.#connection.id;
  }

  /** Why it ended, or why its locks can no longer be believed; `undefined` while it lives. */
  get ended(): Error | undefined {
    if (!this.#connection.ended && monotonic() - this.#heardAt > 2 * this.#third) this.#silent();
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
    this.#heardAt = sentAt;
    return answer;
  }

  /** Ends it; the server frees its locks. */
  end(reason: Error): void {
    this.#connection.end(reason);
  }

  #silent(): void {
    this.end(driverError("ETIMEDOUT", `nothing was heard of the server for ${2 * this.#third / 1e3} s`));
  }

  #beatLater(): void {
    this.#timer = startTimer(this.#third, () => this.#beat(), false);
  }

  /** Any answer is a sign of life, also that the statement was killed. */
  async #beat(): Promise<void> {
    const sentAt = monotonic();
    try {
      await this.#connection.query("SELECT 1", Math.max(1, this.#heardAt + 2 * this.#third - sentAt));
    } catch {
      if (this.#connection.ended) return;
    }
    this.#heardAt = sentAt;
    this.#beatLater();
  }
}
