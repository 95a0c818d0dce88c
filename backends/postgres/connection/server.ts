/**
 * What the server is: the first exchange with it, the table that it must have, and whether its sessions can be trusted.
 *
 * @module
 */
import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import { sleep } from "../../../core/util/runtime.ts";
import { upgradeTable } from "../../shared/found_table.ts";
import { codeOf, isRowLocked, translate } from "../errors.ts";
import { findTable, INSPECTION, quoted, schema, sequenceOf, upgrade } from "../schema.ts";
import type { Client } from "./client.ts";
import { processIdOf, type Source } from "./driver.ts";
import { type Seen, sharesSessions } from "./pooling.ts";

/** What is known of the server, and the table with its schema, so each spelling of it gives the same keys. */
export type Server = Seen & { readonly table: string };

/** What a mode needs: the table of rows, or the sequence of tokens. */
type Needs = "table" | "sequence";

/** Codes of clients that create the same thing at once, which `IF NOT EXISTS` does not prevent. */
const CREATED_MEANWHILE = ["23505", "42P07", "42710", "40001", "40P01", "XX000"];
/** How often a statement is sent again then, and the longest pause before that. */
const MAX_ATTEMPTS = 10;
const MAX_PAUSE_MS = 20;

/** How long an upgrade may keep other users of the table waiting. */
const DDL_LOCK_TIMEOUT = "250ms";

/** Looks at the server, and creates what is missing if that is allowed. */
export async function ensureSchema(client: Client, table: string, needs: Needs, migrate: boolean): Promise<Server> {
  const what = "connect to PostgreSQL";
  const inspect = (table: string) =>
    inspectServer(client, table, needs).catch((error) => {
      throw translate(what, error);
    });
  const server = await inspect(table);
  if (server.present) return server;
  const { old } = server;
  const missing = needs === "table" ? table : sequenceOf(table);
  if (server.replica) {
    throw new BackendError(`Cannot ${what}: it is a replica without ${needs} "${missing}"; want the primary`);
  }
  if (!migrate) {
    const lack = old ? "is of an earlier version" : "does not exist";
    throw new BackendError(`Cannot ${what}: ${needs} "${missing}" ${lack}, and "migrate" is off`);
  }
  try {
    const statements = old ? [] : schema(server.table).split(";\n");
    for (const statement of statements) await create(client, startedAt(server.clock, statement));
    if (old) await upgradeTable(table, () => create(client, briefly(upgrade(server.table))), isRowLocked);
  } catch (error) {
    throw translate(`${old ? "upgrade" : "create"} ${needs} "${missing}"`, error);
  }
  const created = await inspect(server.table);
  if (!created.present) throw new BackendError(`Cannot create ${needs} "${missing}": it is not there afterwards`);
  return created;
}

/** A sequence starts at the clock: one that was dropped and created again repeats no token. */
function startedAt(clock: string, statement: string): string {
  return statement.startsWith("CREATE SEQUENCE") ? `${statement.replace(/;$/, "")} START WITH ${clock}` : statement;
}

/** DDL that waits for other transactions for a moment only, on any connection: all that use the table wait behind it. */
function briefly(statement: string): string {
  return `DO $ddl$ BEGIN PERFORM pg_catalog.set_config('lock_timeout', '${DDL_LOCK_TIMEOUT}', true); ${statement} END $ddl$`;
}

/** Runs DDL that other clients may be running too. */
async function create(client: Client, statement: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await client.send(statement);
      return;
    } catch (error) {
      if (attempt === MAX_ATTEMPTS || !CREATED_MEANWHILE.includes(codeOf(error))) throw error;
    }
    await sleep(Math.random() * MAX_PAUSE_MS);
  }
}

/** Looks at the server, with one unprepared statement. */
async function inspectServer(
  client: Client,
  table: string,
  needs: Needs,
): Promise<Server & { clock: string; present: boolean; old: boolean }> {
  const result = await client.send(INSPECTION, [quoted(table), quoted(sequenceOf(table))]);
  const [row] = result;
  const refuse = (reason: string) => new UnsupportedError(`Cannot use this connection to PostgreSQL: its ${reason}`);
  if (row.shadowed) {
    const hidden = "functions or operators that hide the server's; want pg_catalog first, or not named";
    throw refuse(`search_path has schema ${JSON.stringify(row.shadowed)} before pg_catalog, with ${hidden}`);
  }
  if (row.encoding) throw refuse(`client_encoding is ${row.encoding}, while drivers write UTF-8; want UTF8`);
  const isTemporary = /^pg_temp/.test(row.home ?? table);
  if (isTemporary && table.includes(".")) {
    const reason = "it is temporary, so no other connection sees it; want another schema";
    throw new UnsupportedError(`Cannot use table ${JSON.stringify(table)}: ${reason}`);
  }
  // with an empty or temporary search path, a bare name is looked for where it would be by default
  if ((row.schema === null || isTemporary) && !table.includes(".")) {
    return await inspectServer(client, `${row.schema ?? "public"}.${table}`, needs);
  }
  const found = findTable(table, row.columns);
  return {
    table: qualified(table, row.home ?? row.schema),
    clock: row.clock!,
    version: row.version!,
    replica: row.replica === "true",
    direct: processIdOf(result) === row.pid,
    present: needs === "table" ? found === "present" : row.sequence !== null,
    old: found === "old" && needs === "table",
  };
}

/**
 * The table with its schema, so it is the same on connections with another search path. Only a schema whose name has a
 * quote or a dot in it is left out.
 */
function qualified(table: string, schema: string | null): string {
  return table.includes(".") || schema === null || /[".]/.test(schema) ? table : `${schema}.${table}`;
}

function isCockroach({ version }: Seen): boolean {
  return /cockroach/i.test(version);
}

/** Whether waiters can be notified: a transaction pooler accepts LISTEN and then loses it. */
export function canListen(server: Server): boolean {
  return server.direct && !server.replica && !isCockroach(server);
}

/**
 * Refuses a server without sessions that can carry locks.
 *
 * @param alternative What to use instead behind a pooler in transaction mode.
 * @throws {UnsupportedError} For a replica, CockroachDB or a pooler in transaction mode.
 */
export async function requireSessions(
  use: string,
  server: Seen,
  source: Source,
  alternative?: string,
): Promise<void> {
  const refuse = (reason: string, wanted = '"lease" mode, or an address of the server itself') =>
    new UnsupportedError(`Cannot use ${use} here: ${reason}; want ${wanted}`);
  if (server.replica) {
    const reason = "this is a read-only replica, whose advisory locks no client of the primary sees";
    throw refuse(reason, 'an address of the primary, for "lease" mode as well');
  }
  if (isCockroach(server)) {
    throw refuse("CockroachDB's session-level advisory locks do nothing and say that they were granted");
  }
  if (server.direct) return;
  const pooled = await sharesSessions(source).catch((error) => {
    throw translate(`find out whether ${use} can be used`, error);
  });
  if (pooled) {
    const reason = "a pooler in transaction mode is in between, which hands the same session to other programs";
    throw refuse(reason, alternative);
  }
}
