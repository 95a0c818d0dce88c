import { Backoff } from "../../../core/util/backoff.ts";
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import type { About } from "../connection/abandoned.ts";
import type { Client } from "../connection/client.ts";
import { isConflict, isMissing, isRowLocked, translate } from "../errors.ts";
import type { Row } from "./rows.ts";
import type { Statements } from "./statements.ts";

/** How often a statement is repeated after a conflict with another transaction, and the longest pause before that. */
const MAX_CONFLICTS = 30;
const MAX_PAUSE_MS = 20;

/** How long a request for a locked row is repeated (ms), and the pauses between tries. */
const LOCKED_ROW_MS = 5_000;
const LOCKED_ROW_PAUSES = { first: 5, longest: 100, factor: 1.5, jitter: 0.5 };

/** Sends the statements of one table: again after a conflict, and once more after the table was created again. */
export class LockTable {
  readonly #client: Client;
  readonly #statements: Statements;
  readonly #restore: () => Promise<void>;
  readonly #closing: AbortSignal;

  /**
   * @param restore Creates the table again after it was dropped.
   * @param closing Ends the pauses.
   */
  constructor(client: Client, statements: Statements, restore: () => Promise<void>, closing: AbortSignal) {
    this.#client = client;
    this.#statements = statements;
    this.#restore = restore;
    this.#closing = closing;
  }

  /** Waits for some milliseconds before another try; the end of the backend ends the wait. */
  pause(delay: number): Promise<void> {
    return sleep(delay, this.#closing);
  }

  /** Replaces our own connections. */
  discard(): void {
    this.#client.discard?.();
  }

  /** Repeats a request while its row is locked, holding no connection between tries. */
  async whenUnlocked<T>(request: () => Promise<T>): Promise<T> {
    const until = monotonic() + LOCKED_ROW_MS;
    const backoff = new Backoff(LOCKED_ROW_PAUSES);
    for (;;) {
      try {
        return await request();
      } catch (error) {
        if (!isRowLocked(error) || monotonic() >= until) throw error;
      }
      await this.pause(backoff.next());
    }
  }

  /**
   * Sends a statement.
   *
   * @param what What fails, for the error's message.
   * @param about The locks that no statement given up before may still change.
   */
  async send(
    what: () => string,
    statement: keyof Statements,
    parameters: (string | null)[],
    about?: About,
  ): Promise<readonly Row[]> {
    for (let conflicts = 0, restored = false;;) {
      try {
        return await this.#client.send(this.#statements[statement], parameters, about);
      } catch (error) {
        if (isConflict(error) && conflicts++ < MAX_CONFLICTS) {
          await this.pause(Math.random() * Math.min(conflicts, MAX_PAUSE_MS));
        } else if (isMissing(error) && !restored) {
          restored = true;
          await this.#restore();
        } else throw translate(what(), error);
      }
    }
  }
}
