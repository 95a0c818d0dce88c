/**
 * The first exchange with a server: what it is, whether a proxy is in between, and that the table is there.
 *
 * @module
 */
import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import { sleep } from "../../../core/util/runtime.ts";
import type { Client } from "./client.ts";
import { processIdOf } from "./driver.ts";
import { codeOf, translate } from "../errors.ts";
import { INSPECTION, isTable, quoted, schema, sequenceOf } from "../schema.ts";

/** What is known of the server. */
export interface Server {
  /** The table, with the schema it is found in when the search path is empty. */
  readonly table: string;
  /** Its `version()`. */
  readonly version: string;
  /** Whether it is a replica, which cannot be written to. */
  readonly replica: boolean;
  /** Whether the client is known to talk to the server itself. Unknown counts as no. */
  readonly direct: boolean;
}

/** Codes that two who create the same thing at once may get, as `IF NOT EXISTS` does not look that far. */
const CREATED_MEANWHILE = ["23505", "42P07", "42710", "40001", "40P01", "XX000"];
/** How often a statement is sent again then, and the longest pause before that (ms). */
const ATTEMPTS = 10;
const PAUSE = 20;

/** Asks once, unprepared, and creates what is missing if that is allowed. */
export async function meet(
  client: Client,
  table: string,
  needs: "table" | "sequence",
  migrate: boolean,
): Promise<Server> {
  const what = "connect to PostgreSQL";
  let server = await inspect(client, table, needs).catch((error) => {
    throw translate(what, error);
  });
  if (server.present) return server;
  const missing = needs === "table" ? table : sequenceOf(table);
  if (server.replica) {
    throw new BackendError(`Cannot ${what}: it is a replica without ${needs} "${missing}"; want the primary`);
  }
  if (!migrate) throw new BackendError(`Cannot ${what}: ${needs} "${missing}" does not exist, and "migrate" is off`);
  try {
    for (const statement of schema(server.table).split(";\n")) await create(client, startedAt(server.clock, statement));
  } catch (error) {
    throw translate(`create ${needs} "${missing}"`, error);
  }
  server = await inspect(client, server.table, needs).catch((error) => {
    throw translate(what, error);
  });
  if (!server.present) throw new BackendError(`Cannot create ${needs} "${missing}": it is not there afterwards`);
  return server;
}

/** The table with its schema, so that each spelling gives the same keys; a schema whose name needs quoting is left out. */
function qualified(table: string, schema: string | null): string {
  return table.includes(".") || schema === null || !/^[A-Za-z_]\w*$/.test(schema) ? table : `${schema}.${table}`;
}

/** A sequence starts at the clock: one that was dropped gives no token again. */
function startedAt(clock: string, statement: string): string {
  return statement.startsWith("CREATE SEQUENCE") ? `${statement.replace(/;$/, "")} START WITH ${clock}` : statement;
}

/** Runs DDL that others may be running too. */
async function create(client: Client, statement: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await client.send(statement);
      return;
    } catch (error) {
      if (attempt === ATTEMPTS || !CREATED_MEANWHILE.includes(codeOf(error))) throw error;
    }
    await sleep(Math.random() * PAUSE);
  }
}

/** One look at the server. */
async function inspect(
  client: Client,
  table: string,
  needs: "table" | "sequence",
): Promise<Server & { clock: string; present: boolean }> {
  const result = await client.send(INSPECTION, [quoted(table), quoted(sequenceOf(table))]);
  const [row] = result;
  if (row.shadowed) {
    throw new UnsupportedError(
      `Cannot use this connection to PostgreSQL: its search_path has schema ${JSON.stringify(row.shadowed)} before ` +
        "pg_catalog, with functions or operators that hide the server's; want pg_catalog first, or not named",
    );
  }
  // with an empty search path a bare name means nothing: it is taken to be where it would be by default
  if (row.schema === null && !table.includes(".")) return await inspect(client, `public.${table}`, needs);
  return {
    table: qualified(table, row.home ?? row.schema),
    clock: row.clock!,
    version: row.version!,
    replica: row.replica === "true",
    direct: processIdOf(result) === row.pid,
    present: needs === "table" ? isTable(table, row.columns) : row.sequence !== null,
  };
}
