/**
 * The table, what is made of it, and whether what is there can be used.
 *
 * @module
 */
import { BackendError } from "../../core/errors.ts";

/** The longest identifier, in bytes: PostgreSQL cuts longer ones off. */
const LONGEST_NAME = 63;

/** A checked table name between the quotes of SQL. */
export function quoted(table: string): string {
  return table.split(".").map((part) => `"${part}"`).join(".");
}

/** The name of something that belongs to the table, in the table's schema; cut short so that it stays different. */
export function relative(table: string, suffix: string): string {
  const [name, schema] = table.split(".").reverse();
  const own = name.slice(0, LONGEST_NAME - suffix.length) + suffix;
  return schema === undefined ? own : `${schema}.${own}`;
}

/** The sequence that session locks draw their tokens from. */
export function sequenceOf(table: string): string {
  return relative(table, "_token");
}

/** The table as a word for keys and channels: `public` is where a table without a schema is. */
export function namespaceOf(table: string): string {
  return table.replace(/^public\./, "");
}

/**
 * The DDL: a row for each name, kept when the lock is released so that tokens go on rising. `owner` is NULL while the
 * name is free; `locked_until` is NULL for a lock that never expires; `liveness` is the advisory lock that the
 * holder's connection keeps in hybrid mode. There is no index on `locked_until`: every renewal would have to write it.
 *
 * The index finds what is held among a million rows, and costs each pair three index entries, a quarter of its time in
 * a crowd: an update of a column that an index looks at has to write all indexes anew. Therefore it does not look at
 * `owner` but at `listed`, and a name that is taken often (`frequent`) stays listed while it is free.
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
  frequent     boolean     NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX IF NOT EXISTS "${index}" ON ${quoted(table)} (name) WHERE listed;
CREATE SEQUENCE IF NOT EXISTS ${quoted(sequenceOf(table))};
`.trim();
}

/** Columns that the statements use. */
const COLUMNS = [
  "name",
  "owner",
  "token",
  "locked_by",
  "lock_process",
  "locked_until",
  "created_at",
  "updated_at",
  "metadata",
  "liveness",
  "session_pid",
  "listed",
  "frequent",
];

/**
 * A schema that comes before `pg_catalog` in the search path and has functions or operators of the same names as the
 * server's own: statements would mean something else. NULL when there is none, as where `pg_catalog` is not named.
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
 * Looks at what is there: one row of what the server is, and the columns of the table as a JSON array, NULL when there
 * is no table. `(table, sequence)`, both between quotes.
 */
export const INSPECTION = `
  SELECT ${SHADOWED} AS shadowed, pg_catalog.pg_backend_pid()::text AS pid, version() AS version, pg_is_in_recovery()::text AS replica,
    (date_part('epoch', clock_timestamp()) * 1000000)::bigint::text AS clock,
    current_schema()::text AS schema, to_regclass($2::text)::text AS sequence,
    (SELECT nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.oid = coalesce(to_regclass($1::text), to_regclass($2::text)))::text AS home,
    (SELECT json_agg(attname) FROM pg_attribute
      WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped)::text AS columns`;

/**
 * Whether the table is there.
 *
 * @throws {BackendError} When it is there with other columns.
 */
export function isTable(table: string, columns: string | null): boolean {
  if (columns === null) return false;
  const present: string[] = JSON.parse(columns);
  const missing = COLUMNS.filter((column) => !present.includes(column));
  if (missing.length > 0) {
    throw new BackendError(
      `Cannot use table ${JSON.stringify(table)}: it has no column ${missing.join(", ")}; ` +
        "want a table that lockmgr made, or another name",
    );
  }
  return true;
}
