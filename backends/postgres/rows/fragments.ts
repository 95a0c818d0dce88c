/**
 * What the statements of leases and hybrid locks have in common. Every parameter and every answer is text, because
 * drivers differ in how they write arrays and JSON and in how they read integers.
 *
 * @module
 */

/**
 * How long a statement waits for a row that another transaction has locked, as `guard` does: an attempt to take it; a
 * renewal or a release, which is tried again without a connection of its own meanwhile; and what clears many rows.
 */
export const ATTEMPT_PATIENCE = "200ms";
export const RETRIED_PATIENCE = "20ms";
export const PATIENCE = "5s";

/**
 * SQL for microseconds since 1970. `date_part` answers in double precision, exact until February 2106 (2^32 s), and
 * costs a third of what `extract` does, which answers a numeric.
 */
export function microseconds(time: string): string {
  return `(date_part('epoch', ${time}) * 1000000)::bigint`;
}

/**
 * SQL for a row that is held: not released, not lapsed, and not left by a session that is gone. The advisory lock that
 * vouches for a row can be had exactly when its holder's connection has ended; the transaction gives it back.
 */
export function live(row: string): string {
  return `(${row}.owner IS NOT NULL AND (${row}.locked_until IS NULL OR ${row}.locked_until > clock_timestamp())
    AND CASE WHEN ${row}.liveness IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared(${row}.liveness) END)`;
}

/** What is answered of a row. A lock may last beyond the year 2106. */
export function columns(row: string, now: string): string {
  return `${row}.name, ${row}.token::text AS token, ${row}.locked_by AS holder, ${row}.lock_process::text AS process,
    (extract(epoch FROM ${row}.locked_until) * 1000000)::bigint::text AS until, ${
    microseconds(`${row}.created_at`)
  }::text AS created,
    ${microseconds(`${row}.updated_at`)}::text AS updated, ${row}.metadata::text AS metadata,
    ${row}.session_pid::text AS session, ${microseconds(now)}::text AS now`;
}

/** Whether the server takes writes, as a column: those where it does not are no answers (`requirePrimary`). */
export const READ_ONLY = "current_setting('transaction_read_only') AS read_only";

/** Limits the wait for a row lock in this transaction. */
export function patience(limit: string): string {
  return `set_config('lock_timeout', '${limit}', true)`;
}

/** A commit that must not be lost reaches the disk, also where an operator has turned that off. */
export const DURABLE = `set_config('synchronous_commit',
      CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`;

/** Settings for this transaction alone, made before anything that comes after `settings` in FROM. */
export function settings(...made: string[]): string {
  return `settings AS MATERIALIZED (SELECT ${
    made.map((setting, index) => `${setting} AS setting${index}`).join(", ")
  })`;
}

/** The wish of one request as a table; a parameter for each field. */
export function oneWish(fields: readonly string[]): string {
  return `wish AS MATERIALIZED (
    SELECT ${fields.map((field, index) => `$${index + 1}::text AS ${field}`).join(", ")} FROM settings)`;
}

/**
 * Parameters with an array for each field as rows. SELECT hides from the planner how many there are: knowing that there
 * are few it would plan anew each time, which takes longer than the rest (0.2 ms).
 */
export function unnested(fields: readonly string[]): string {
  return `unnest(${fields.map((_field, index) => `(SELECT $${index + 1}::text)::text[]`).join(", ")})`;
}

/** Fields that may be NULL. They travel as empty texts in an array, because with `array_nulls` off it takes no NULL. */
const NULLABLE = ["owner", "duration", "process", "metadata", "more"];

/** A field of a wish from an array. */
function orNull(field: string): string {
  return NULLABLE.includes(field) ? `nullif(wish.${field}, '') AS ${field}` : `wish.${field}`;
}

/** The wishes of several requests as a table, with the place of each; a parameter with an array for each field. */
export function wishes(fields: readonly string[]): string {
  return `wish AS MATERIALIZED (
    SELECT ${fields.map(orNull).join(", ")}, wish.place
    FROM settings, ${unnested(fields)} WITH ORDINALITY AS wish (${fields.join(", ")}, place))`;
}

/** One order for everybody, so that no two statements can deadlock. */
export const IN_ORDER = `ORDER BY wish.name COLLATE "C"`;

/**
 * Locks the rows of several wishes in one order for everybody, so that no two statements can deadlock.
 *
 * @param skipLocked Leaves out those that another transaction has locked.
 */
export function inOrder(target: string, skipLocked = false): string {
  return `wish_in_order AS MATERIALIZED (
    SELECT wish.* FROM ${target} AS l JOIN wish ON l.name = wish.name ORDER BY l.name FOR UPDATE OF l${
    skipLocked ? " SKIP LOCKED" : ""
  })`;
}
