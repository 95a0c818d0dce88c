/**
 * Keeps what is written through a caller's function out of the caller's own transactions: a rollback would undo a lock
 * that its holder believes in.
 *
 * Whether a statement is a transaction of its own is decided inside the statement. In the simple protocol, which drivers
 * use for a statement without parameters, the transaction then began with the statement, to the microsecond; inside a
 * transaction block it began earlier. Drivers of the extended protocol begin the transaction while the statement is
 * parsed, and PGlite's clock counts milliseconds: there a statement before it draws a transaction id, which the next one
 * still has if both are part of one transaction.
 *
 * @module
 */
import { OpenTransaction } from "../errors.ts";
import { ACQUIRE_LOCK_TIMEOUT, CLEAN_LOCK_TIMEOUT, lockTimeout, RETRIED_LOCK_TIMEOUT } from "../rows/fragments.ts";
import type { Row } from "../rows/rows.ts";
import { inlineParameters } from "./inline_parameters.ts";

/** Sends one statement through the caller's function. */
type Run = (text: string, parameters: (string | null)[]) => Promise<readonly Row[]>;

/** What the server's error about an open transaction contains, in every language. */
const MARK = "lockmgr: a transaction is open";
/** What every statement that writes into the table begins with: the limit of its waits. */
const BEGINNINGS = [ACQUIRE_LOCK_TIMEOUT, RETRIED_LOCK_TIMEOUT, CLEAN_LOCK_TIMEOUT].map((limit) =>
  [limit, lockTimeout(limit)] as const
);
/** What else writes. */
const WRITES = /\b(INSERT INTO|UPDATE|DELETE FROM|CREATE)\b/;

/** A transaction that has written nothing. */
const UNWRITTEN = "pg_catalog.txid_current_if_assigned() IS NULL";
/** Whether a time has a fraction of a millisecond. */
const exact = (time: string) => `pg_catalog.date_part('microseconds', ${time})::bigint % 1000 <> 0`;
/** A transaction that began with the statement, by a clock that is fine enough to tell. */
const BEGAN_NOW = `pg_catalog.now() = pg_catalog.statement_timestamp() AND ${UNWRITTEN}
      AND (${exact("pg_catalog.now()")} OR ${exact("pg_catalog.clock_timestamp()")})`;
/** Draws a transaction id. */
const DRAW = "SELECT pg_catalog.txid_current()::text AS id";
const LOOK = `SELECT (${UNWRITTEN})::text AS own`;

/** The statement, failing unless the condition holds; `undefined` when it has no place for that. */
function demanding(statement: string, condition: string): string | undefined {
  for (const [limit, beginning] of BEGINNINGS) {
    if (!statement.includes(beginning)) continue;
    // the server's id in it keeps the planner from making the error before the condition was looked at
    const failing = `('${MARK} ' || pg_catalog.pg_backend_pid())::integer::text`;
    const checked =
      `pg_catalog.set_config('lock_timeout', CASE WHEN ${condition} THEN '${limit}' ELSE ${failing} END, true)`;
    return statement.replace(beginning, () => checked);
  }
  return undefined;
}

/** Texts that mean the same to every client, also to one that looks for placeholders or reads backslashes. */
const UNAMBIGUOUS = /^[^'\\$?%]*$/;

function isOpen(error: unknown): boolean {
  return String((error as Error)?.message).includes(MARK);
}

/** Whether the server refuses everything until the transaction ends, as after the error of {@linkcode demanding}. */
function isAborted(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return code === "25P02" || /25P02|current transaction is aborted/.test(String(message));
}

/** Sends statements through a caller's function, those that write only as transactions of their own. */
export class OutsideTransactions {
  readonly #run: Run;
  /** Whether the driver begins transactions before the statement, so that each write needs a look before it. */
  #extended = false;

  constructor(run: Run) {
    this.#run = run;
  }

  /**
   * Sends one statement.
   *
   * @throws {OpenTransaction} When it would be written in the caller's transaction; nothing is written then.
   */
  async send(text: string, parameters: (string | null)[]): Promise<readonly Row[]> {
    if (!WRITES.test(text)) return await this.#run(text, parameters);
    const demanded = demanding(text, UNWRITTEN);
    if (demanded === undefined) {
      await this.#draw();
      const [row] = await this.#run(LOOK, []);
      if (row.own !== "true") throw new OpenTransaction();
      return await this.#run(text, parameters);
    }
    const whole = this.#extended ? undefined : inlineParameters(demanding(text, BEGAN_NOW)!, parameters, UNAMBIGUOUS);
    try {
      if (whole !== undefined) return await this.#run(whole, []);
    } catch (error) {
      if (!isOpen(error)) throw error;
    }
    await this.#draw();
    try {
      const rows = await this.#run(demanded, parameters);
      if (whole !== undefined) this.#extended = true;
      return rows;
    } catch (error) {
      throw isOpen(error) ? new OpenTransaction() : error;
    }
  }

  async #draw(): Promise<void> {
    try {
      await this.#run(DRAW, []);
    } catch (error) {
      throw isAborted(error) ? new OpenTransaction() : error;
    }
  }
}
