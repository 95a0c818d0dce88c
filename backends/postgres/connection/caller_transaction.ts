/**
 * Refuses to write through a caller's function inside the caller's own transaction, whose rollback would undo a lock
 * after its holder was told of it.
 *
 * The statement itself checks that it is a transaction of its own. In the simple protocol, which drivers use for a
 * statement without parameters, such a transaction began with the statement, to the microsecond; a transaction block
 * began earlier. In the extended protocol the transaction begins while the statement is parsed, and PGlite's clock counts
 * milliseconds: there a statement before it draws a transaction id, which the next one still has if both are part of one
 * transaction.
 *
 * @module
 */
import { OpenTransaction } from "../errors.ts";
import { ACQUIRE_LOCK_TIMEOUT, CLEAN_LOCK_TIMEOUT, lockTimeout, RETRIED_LOCK_TIMEOUT } from "../rows/fragments.ts";
import type { Row } from "../rows/rows.ts";
import { inlineParameters } from "./inline_parameters.ts";

/** Sends one statement through the caller's function. */
type Run = (text: string, parameters: (string | null)[]) => Promise<readonly Row[]>;

/** A part of the server's error about an open transaction, in every language. */
const MARK = "lockmgr: a transaction is open";
/** The beginning of every statement that writes rows: its lock timeout. */
const BEGINNINGS = [ACQUIRE_LOCK_TIMEOUT, RETRIED_LOCK_TIMEOUT, CLEAN_LOCK_TIMEOUT].map((limit) =>
  [limit, lockTimeout(limit)] as const
);
/** Statements that write. */
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

/** Returns the statement with a check that fails unless the condition holds; `undefined` when it has no lock timeout. */
function withCheck(statement: string, condition: string): string | undefined {
  for (const [limit, beginning] of BEGINNINGS) {
    if (!statement.includes(beginning)) continue;
    // with the process id in it the planner cannot raise the error before it has checked the condition
    const failing = `('${MARK} ' || pg_catalog.pg_backend_pid())::integer::text`;
    const timeout =
      `pg_catalog.set_config('lock_timeout', CASE WHEN ${condition} THEN '${limit}' ELSE ${failing} END, true)`;
    return statement.replace(beginning, () => timeout);
  }
  return undefined;
}

/** Plain ASCII that means the same to every client, also to one that looks for placeholders or reads backslashes. */
const UNAMBIGUOUS = /^(?:(?!['\\$?%])[\x20-\x7e])*$/;

function isOpen(error: unknown): boolean {
  return String((error as Error)?.message).includes(MARK);
}

/** Whether the server refuses every statement until the transaction ends, as after a failed check. */
function isAborted(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return code === "25P02" || /25P02|current transaction is aborted/.test(String(message));
}

/** Sends statements through a caller's function, and writes only in transactions of their own. */
export class OutsideTransactions {
  readonly #run: Run;
  /** Whether the driver begins transactions before the statement: each write then needs a statement before it. */
  #extended = false;

  constructor(run: Run) {
    this.#run = run;
  }

  /**
   * Sends one statement.
   *
   * @throws {OpenTransaction} When it would write in the caller's transaction; it writes nothing then.
   */
  async send(text: string, parameters: (string | null)[]): Promise<readonly Row[]> {
    if (!WRITES.test(text)) return await this.#run(text, parameters);
    const checked = withCheck(text, UNWRITTEN);
    if (checked === undefined) {
      await this.#draw();
      const [row] = await this.#run(LOOK, []);
      if (row.own !== "true") throw new OpenTransaction();
      return await this.#run(text, parameters);
    }
    const mayInline = !this.#extended && parameters.every((value) => value === null || UNAMBIGUOUS.test(value));
    const whole = mayInline ? inlineParameters(withCheck(text, BEGAN_NOW)!, parameters) : undefined;
    try {
      if (whole !== undefined) return await this.#run(whole, []);
    } catch (error) {
      if (!isOpen(error)) throw error;
    }
    await this.#draw();
    try {
      const rows = await this.#run(checked, parameters);
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
