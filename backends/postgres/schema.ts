/**
 * The names and the DDL of the lock table, and the query that inspects it.
 *
 * @module
 */
import { type Found, judgeTable } from "../shared/found_table.ts";

/** The longest identifier, in bytes: PostgreSQL truncates longer ones. */
const MAX_IDENTIFIER = 63;

/**
 * The columns of queues, with their types, which tables of earlier versions lack. The check refuses earlier versions of
 * this library, which know nothing of a queue, when they would give its name away; they may release it.
 */
const QUEUE_COLUMNS: Readonly<Record<string, string>> = {
  slots: "integer",
  first_token: "bigint",
  line_owner: "text",
  line: "jsonb[] CHECK (line IS NULL OR owner IS NULL OR line_owner IS NOT DISTINCT FROM owner)",
};

/** A checked table name between the quotes of SQL. */
export function quoted(table: string): string {
  return table.split(".").map((part) => `"${part}"`).join(".");
}

/** The name of an index or sequence of the table, in its schema; truncated before the suffix, so it stays distinct. */
function relative(table: string, suffix: string): string {
  const [name, schema] = table.split(".").reverse();
  const own = name.slice(0, MAX_IDENTIFIER - suffix.length) + suffix;
  return schema === undefined ? own : `${schema}.${own}`;
}

/** The sequence that session locks draw their tokens from. */
export function sequenceOf(table: string): string {
  return relative(table, "_token");
}

/** The table as the namespace of keys; a table without a schema is in `public`. */
export function namespaceOf(table: string): string {
  return table.replace(/^public\./, "");
}

/**
 * The DDL: a row for each name, kept when the lock is released so its tokens go on increasing. `owner` is NULL while the
 * name is free, `locked_until` is NULL for a lock without expiry, and `liveness` is the key of the liveness lock in
 * hybrid mode. There is no index on `locked_until`: every renewal would have to write it.
 *
 * The index finds the held names among a million rows. To change an indexed column costs a quarter of a pair's time in a
 * batch, since the update then writes every index. Therefore the index has not `owner` but `listed`, and a name that is
 * acquired often (`frequent`) stays listed while it is free.
 *
 * `line` has the further holders and the waiters, and is NULL for an exclusive lock without waiters. Then so are `slots`,
 * the first holder's limit, and `first_token`, its token, of which `token` is the highest. Where 64 wait, a statement
 * takes two thirds of the time that it takes with one JSON array for all.
 */
export function schema(table: string): string {
  const [index] = relative(table, "_held").split(".").reverse();
  return `
CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  name         text COLLATE "C" NOT NULL PRIMARY KEY,
  owner        text,
  token        bigint      NOT NULL,
  locked_by    text        NOT NULL,
  lock_process bigint,
  locked_until timestamptz,
  created_at   timestamptz NOT NULL,
  updated_at   timestamptz NOT NULL,
  metadata     json,
  liveness     bigint,
  session_pid  integer,
  listed       boolean     NOT NULL DEFAULT true,
  frequent     boolean     NOT NULL DEFAULT false,
${Object.entries(QUEUE_COLUMNS).map(([column, type]) => `  ${column.padEnd(12)} ${type}`).join(",\n")}
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX IF NOT EXISTS "${index}" ON ${quoted(table)} (name) WHERE listed;
CREATE SEQUENCE IF NOT EXISTS ${quoted(sequenceOf(table))};
`.trim();
}

/** The DDL for a table of an earlier version; locks that are held stay held. */
export function upgrade(table: string): string {
  const columns = Object.entries(QUEUE_COLUMNS).map(([column, type]) => `ADD COLUMN IF NOT EXISTS ${column} ${type}`);
  return `ALTER TABLE ${quoted(table)} ${columns.join(", ")};`;
}

/** The DDL of a new table, and as a comment what upgrades an old one. */
export function printedSchema(table: string): string {
  return `${schema(table)}\n\n-- A table of an earlier version:\n-- ${upgrade(table)}`;
}

/** The columns that the statements use. */
const COLUMNS = ("name owner token locked_by lock_process locked_until created_at updated_at metadata liveness " +
  "session_pid listed frequent").split(" ");

/**
 * A schema before `pg_catalog` in the search path with functions or operators that hide the server's: statements would
 * mean something else. NULL when there is none, as where `pg_catalog` is not named.
 */
const SHADOWED = `(
    SELECT s.nspname::pg_catalog.text
    FROM pg_catalog.pg_namespace AS s,
      (SELECT pg_catalog.current_schemas(true) AS path) AS search
    WHERE s.nspname OPERATOR(pg_catalog.=) ANY (search.path)
      AND s.nspname OPERATOR(pg_catalog.!~) '^pg_'
      AND pg_catalog.array_position(search.path, s.nspname)
        OPERATOR(pg_catalog.<) pg_catalog.array_position(search.path, 'pg_catalog'::pg_catalog.name)
      AND (EXISTS (SELECT FROM pg_catalog.pg_proc AS own
          WHERE own.pronamespace OPERATOR(pg_catalog.=) s.oid AND EXISTS (SELECT FROM pg_catalog.pg_proc AS theirs
            WHERE theirs.proname OPERATOR(pg_catalog.=) own.proname
              AND own.proname OPERATOR(pg_catalog.<>) 'version'
              AND theirs.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid))
        OR EXISTS (SELECT FROM pg_catalog.pg_operator AS own
          WHERE own.oprnamespace OPERATOR(pg_catalog.=) s.oid AND EXISTS (SELECT FROM pg_catalog.pg_operator AS theirs
            WHERE theirs.oprname OPERATOR(pg_catalog.=) own.oprname
              AND theirs.oprnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid)))
    LIMIT 1)`;

/**
 * Inspects the server: one row, with the columns of the table as a JSON array, or NULL without the table.
 * `(table, sequence)`, both quoted.
 */
export const INSPECTION = `
  SELECT ${SHADOWED} AS shadowed, pg_catalog.pg_backend_pid()::text AS pid, version() AS version, pg_is_in_recovery()::text AS replica,
    (date_part('epoch', clock_timestamp()) * 1000000)::bigint::text AS clock,
    (SELECT schema FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (schema, place)
      WHERE schema !~ '^pg_temp' ORDER BY place LIMIT 1)::text AS schema,
    to_regclass($2::text)::text AS sequence,
    nullif(nullif(current_setting('client_encoding'), 'UTF8'), 'SQL_ASCII') AS encoding,
    (SELECT nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.oid = coalesce(to_regclass($1::text), to_regclass($2::text)))::text AS home,
    (SELECT json_agg(attname) FROM pg_attribute
      WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped)::text AS columns`;

/**
 * Returns whether the table exists, from the columns in the answer to {@linkcode INSPECTION}.
 *
 * @throws {BackendError} When it has other columns.
 */
export function findTable(table: string, columns: string | null): Found {
  return columns === null ? "none" : judgeTable(table, JSON.parse(columns), COLUMNS, Object.keys(QUEUE_COLUMNS));
}
