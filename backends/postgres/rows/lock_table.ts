import type { AcquireRequest } from "../../../core/backend.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import type { AbandonedConnections } from "../connection/abandoned.ts";
import type { About, Client } from "../connection/client.ts";
import { isConflict, isMissing, isRowLocked, translate } from "../errors.ts";
import type { Parameters, Row } from "./rows.ts";
import type { Statements } from "./statements.ts";

/** How often a statement is repeated after a conflict with another transaction, and the longest pause before that. */
const MAX_CONFLICTS = 30;
const MAX_PAUSE_MS = 20;

/** How long a request for a locked row is repeated (ms), and the pauses between tries. */
const LOCKED_ROW_MS = 5_000;
const LOCKED_ROW_PAUSES = { first: 5, longest: 100, factor: 1.5, jitter: 0.5 };

/** What a table is reached through. */
export interface TableParts {
  /** The SQL for the table. */
  readonly statements: Statements;
  /** Ends at the server what was given up. */
  readonly abandoned?: AbandonedConnections | undefined;
  /** Creates the table again after it was dropped. */
  readonly restore: () => Promise<void>;
}

/** Sends the statements of one table: again after a conflict, and once more after the table was created again. */
export class LockTable {
  readonly #client: Client;
  readonly #parts: TableParts;
  readonly #closing: AbortSignal;

  /** @param closing Ends the pauses. */
  constructor(client: Client, parts: TableParts, closing: AbortSignal) {
    this.#client = client;
    this.#parts = parts;
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

  /**
   * Sends a statement that acquires; returns `undefined` when it waited too long for a locked row. That means busy, unless
   * an earlier request of the same owner may be what has locked the row.
   */
  async attempt(
    requests: readonly AcquireRequest[],
    statement: keyof Statements,
    parameters: Parameters,
  ): Promise<readonly Row[] | undefined> {
    try {
      return await this.send(() => `acquire ${namesOf(requests)}`, statement, parameters, requests);
    } catch (error) {
      if (!isRowLocked(error) || requests.some(({ repeated }) => repeated)) throw error;
      return undefined;
    }
  }

  /** Repeats a request while its row is locked, holding no connection between tries. */
  async whenUnlocked<T>(request: () => Promise<T>): Promise<T> {
    const until = monotonic() + LOCKED_ROW_MS;
    let backoff: Backoff | undefined;
    for (;;) {
      try {
        return await request();
      } catch (error) {
        if (!isRowLocked(error) || monotonic() >= until) throw error;
      }
      backoff ??= new Backoff(LOCKED_ROW_PAUSES);
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
    parameters: Parameters,
    about?: About,
  ): Promise<readonly Row[]> {
    const { statements, abandoned, restore } = this.#parts;
    for (let conflicts = 0, restored = false;;) {
      try {
        if (about && abandoned?.any) await abandoned.settled(about);
        return await this.#client.send(statements[statement], parameters, about);
      } catch (error) {
        if (isConflict(error) && conflicts++ < MAX_CONFLICTS) {
          await this.pause(Math.random() * Math.min(conflicts, MAX_PAUSE_MS));
        } else if (isMissing(error) && !restored) {
          restored = true;
          await restore();
        } else throw translate(what(), error);
      }
    }
  }
}
