/**
 * What the statements of leases and hybrid locks have in common. Every parameter and every value of an answer is text.
 *
 * @module
 */

/**
 * How long a statement waits for a row that another transaction has locked, as `guard` does: an attempt to acquire; a
 * renewal or release, which is repeated without holding a connection between tries; a statement about many rows.
 */
export const ACQUIRE_LOCK_TIMEOUT = "200ms";
export const RETRIED_LOCK_TIMEOUT = "20ms";
export const CLEAN_LOCK_TIMEOUT = "5s";

/** Limits the wait for a row lock in this transaction. */
export function lockTimeout(limit: string): string {
  return `set_config('lock_timeout', '${limit}', true)`;
}

/** Makes this transaction's commit reach the disk, also where an operator has turned that off. */
export const DURABLE = `set_config('synchronous_commit',
      CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`;

/** Lets this transaction's commit be confirmed before it reaches the disk. */
export const LAZY = "set_config('synchronous_commit', 'off', true)";

/** A crash may undo the release of a lock that expires within so many minutes: it is then free soon all the same. */
export const SOON_MINUTES = 15;

/** The column `commit`, which lets the commit be confirmed before it reaches the disk when `lazy`, and only then. */
export function commit(lazy: string): string {
  return `CASE WHEN ${lazy} THEN ${LAZY} ELSE ${DURABLE} END AS commit`;
}

/** A CTE of settings for this transaction, made before what comes after `settings` in FROM. */
export function settings(...made: string[]): string {
  const columns = made.map((setting, index) => `${setting} AS setting${index}`);
  return `settings AS MATERIALIZED (SELECT ${columns.join(", ")})`;
}

/** Whether the server takes no writes, as a column: `requirePrimary` refuses the answer of such a server. */
export const READ_ONLY = "current_setting('transaction_read_only') AS readonly";

/**
 * SQL for microseconds since 1970. `date_part` returns double precision, exact until February 2106 (2^32 s), and takes
 * a third of the time of `extract`, which returns numeric.
 */
export function microseconds(time: string): string {
  return `(date_part('epoch', ${time}) * 1000000)::bigint`;
}

/** Fields that may be NULL, which an array carries as an empty text: with `array_nulls` off it takes no NULL. */
const NULLABLE = ["owner", "duration", "process", "metadata", "added"];

/**
 * A CTE of requests from a parameter with an array for each field, with the place of each request. SELECT hides from the
 * planner how many there are: knowing that they are few it would plan again for each statement (0.2 ms).
 */
export function requests(...fields: string[]): string {
  const values = fields.map((field) => NULLABLE.includes(field) ? `nullif(${field}, '') AS ${field}` : field);
  const arrays = fields.map((_field, index) => `(SELECT $${index + 1}::text)::text[]`);
  return `request AS MATERIALIZED (
    SELECT ${values.join(", ")}, place
    FROM settings, unnest(${arrays.join(", ")}) WITH ORDINALITY AS r (${fields.join(", ")}, place))`;
}

/** One order of rows for all statements, so no two of them can deadlock. */
export const IN_ORDER = `ORDER BY request.name COLLATE "C"`;

/** SQL for which session of which server answers: a proxy may go on with another one. */
export const SERVER = `concat(pg_backend_pid(), ' since ', date_part('epoch', pg_postmaster_start_time())) AS server`;
