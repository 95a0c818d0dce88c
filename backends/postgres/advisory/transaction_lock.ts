/**
 * Advisory locks of the caller's transaction, which end with it.
 *
 * @module
 */
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import { sendStatement, type Transaction } from "../connection/driver.ts";
import { rowsOf } from "../connection/row_shapes.ts";
import { isRowLocked } from "../errors.ts";
import { type AdvisoryKey, keyArguments, keyParameters } from "./key.ts";
import { type Acquired, cancellable, lockTimeoutOf, noticeDeath, type Wait } from "./waiting.ts";

/**
 * Sets the limit of the wait, and the caller's own limits aside; returns them, under names of one word, which drivers
 * transform by their case alone. `(lock_timeout)`
 */
const SET = `
  SELECT own.*, set_config('lock_timeout', $1::text, true), set_config('statement_timeout', '0', true), ${
  noticeDeath(true)
}
  FROM (SELECT current_setting('lock_timeout') AS locking, current_setting('statement_timeout') AS statement,
    current_setting('client_connection_check_interval', true) AS checking OFFSET 0) AS own`;

/** Sets the caller's limits again. `(lock_timeout, statement_timeout, client_connection_check_interval)` */
const RESTORE = `
  SELECT set_config('lock_timeout', $1::text, true), set_config('statement_timeout', $2::text, true),
    CASE WHEN $3::text IS NOT NULL THEN set_config('client_connection_check_interval', $3::text, true) END`;

/** The end of the calls under way on each transaction or client. */
const calls = new WeakMap<object, Promise<void>>();

/**
 * Makes a call on a transaction once those before it have ended: the roll-back to the savepoint of one would release what
 * another was granted meanwhile. Returns nothing when the wait is over before its turn.
 */
export function inTurn<T>(on: object, wait: Wait, call: () => Promise<T>): Promise<T | undefined> {
  const before = calls.get(on);
  const turn = before ? endsWithin(wait, before).then((ends) => ends ? call() : undefined) : call();
  const end = Promise.allSettled([before, turn]).then(() => {
    if (calls.get(on) === end) calls.delete(on);
  });
  calls.set(on, end);
  return turn;
}

/** Whether the calls before end while the wait lasts. One that tries once waits for that, too. */
async function endsWithin({ deadline = 0, ending }: Wait, before: Promise<void>): Promise<boolean> {
  const left = deadline - monotonic();
  const ended = new AbortController();
  const isOver = sleep(left > 0 ? left : Infinity, AbortSignal.any([ending, ended.signal])).catch(() => {});
  try {
    return await Promise.race([before.then(() => true), isOver.then(() => false)]);
  } finally {
    ended.abort();
  }
}

/**
 * Acquires a lock on the caller's transaction. It waits behind a savepoint, so the transaction goes on after a time-out.
 * The savepoint is the driver's: a statement that fails outside of one makes the driver roll the transaction back.
 */
export async function acquireInTransaction(
  transaction: Transaction,
  key: AdvisoryKey,
  shared: boolean,
  prefix: string,
  wait: Wait,
): Promise<Acquired | undefined> {
  const call = `advisory_xact_lock${shared ? "_shared" : ""}(${keyArguments(key)})::text AS acquired`;
  const acquired = { release: () => Promise.resolve(false) };
  const [row] = rowsOf(await sendStatement(transaction, `${prefix}SELECT pg_try_${call}`, keyParameters(key), false));
  if (row.acquired === "true") return acquired;
  if (row.acquired !== "false") {
    throw new TypeError('Cannot read the answer to an advisory lock: want a "sql" that keeps values');
  }
  const limit = lockTimeoutOf(wait);
  if (limit === undefined) return undefined;
  try {
    await transaction.savepoint(async (sql) => {
      const [own] = rowsOf(await sendStatement(sql, SET, [limit], false));
      await cancellable(sendStatement(sql, `${prefix}SELECT pg_${call}`, keyParameters(key), false), wait.ending);
      wait.ending.throwIfAborted(); // the roll-back to the savepoint releases what was granted
      await sendStatement(sql, RESTORE, [own.locking, own.statement, own.checking], false);
    });
    return acquired;
  } catch (error) {
    if (isRowLocked(error)) return undefined;
    throw error;
  }
}
