import type { Backend } from "../../core/backend.ts";
import { concealerFor } from "../../core/options/target.ts";
import { BackendError, UnsupportedError } from "../../core/errors.ts";
import type { Engine } from "../../core/engine.ts";
import { checkOptions } from "../../core/options/known_options.ts";
import { inSchema } from "../../core/options/settings.ts";
import { isBunSql, refuseOrm } from "../../core/options/refused_client.ts";
import { AbandonedConnections, type GuardedSource } from "./connection/abandoned.ts";
import { registerOrigin } from "./advisory/sessions.ts";
import type { Client } from "./connection/client.ts";
import { isInstance, isSql, type PostgresExecutor, type PostgresSql, sourceOf } from "./connection/driver.ts";
import { sourceOfPool } from "./connection/pg_connection.ts";
import { ExternalFunction } from "./connection/external_function.ts";
import { ExternalPool } from "./connection/external_pool.ts";
import { ExternalSql } from "./connection/external_sql.ts";
import { OwnPool } from "./connection/own_pool.ts";
import { checkPgPool, isPgClient, isPgPool, type PostgresPool } from "./connection/pg_driver.ts";
import { monotonic } from "../../core/util/runtime.ts";
import { Liveness } from "../sessions/liveness.ts";
import { SessionBackend } from "../sessions/session_backend.ts";
import { OPTIONS, parseUrl, type PostgresOptions, type ResolvedOptions, resolveOptions } from "./options.ts";
import { schemaIn } from "./url_parameters.ts";
import { ServerClock } from "./queue/server_clock.ts";
import { RowBackend } from "./rows/row_backend.ts";
import { printedSchema } from "./schema.ts";
import { canListen, ensureSchema, requireSessions } from "./connection/server.ts";
import { openLivenessLock, PostgresSessionEngine } from "./session/session_engine.ts";
import type { Row } from "./rows/rows.ts";
import { type Statements, statementsFor } from "./rows/statements.ts";
import { type Look, pauseOf, Waiters } from "./wakeup/waiters.ts";

/** The first waiter polls so long after the holder's lease has expired (ms). */
const AFTER_EXPIRY_MS = 5;

/** How a server is reached. */
interface Reach {
  /** Sends statements. */
  readonly client: Client;
  /** Sends renewals: on a connection of their own, where one may be opened. */
  readonly renewals: Client;
  /** Opens further connections, where that is possible. */
  readonly source?: GuardedSource;
}

/**
 * Keeps locks in a PostgreSQL database.
 *
 * @example
 * ```ts
 * import { PGlite } from "@electric-sql/pglite";
 * import { getLock } from "@lockmgr/lockmgr";
 * import { postgresBackend } from "@lockmgr/lockmgr/postgres";
 * import assert from "node:assert/strict";
 *
 * const database = await PGlite.create(); // PostgreSQL inside the program; elsewhere pass a URL
 * {
 *   await using backend = await postgresBackend((text, values) => database.query(text, values).then(({ rows }) => rows as object[]));
 *   await using lock = await getLock("jobs", { backend });
 *   assert(lock.held);
 * }
 * await database.close();
 * ```
 *
 * @param target A URL; a `sql` instance of postgres.js or a pool of node-postgres, which is never closed here and not used
 * for session locks and notifications, nor a `sql` for renewals (they get connections of their own with its options); or
 * a function that sends one statement, in `"lease"` mode.
 * @param options The mode and table, and how the server is reached.
 * @returns The backend; disposal closes what was opened here.
 * @throws {TypeError | RangeError} For an invalid option or target, before a connection is opened.
 * @throws {UnsupportedError} For `"session"` or `"hybrid"` where sessions cannot be trusted: behind a pooler in
 * transaction mode, on a replica, on CockroachDB, or through a function.
 * @throws {BackendError} When the server cannot be reached, or the table does not exist and "migrate" is off.
 */
export async function postgresBackend(
  target: string | URL | PostgresSql | PostgresPool | PostgresExecutor,
  options: PostgresOptions = {},
): Promise<Backend> {
  checkOptions("on PostgreSQL", options, OPTIONS);
  const parsed = typeof target === "string" || target instanceof URL ? parseUrl(target) : undefined;
  const given = resolveOptions({ ...parsed?.target.settings, ...options });
  const resolved = { ...given, table: inSchema(given.table, parsed?.address.schema) };
  const reach = parsed ? await reachUrl(parsed, resolved) : await reachExternal(target, resolved);
  const { client, source } = reach;
  try {
    const backend = await buildOnPrimary(reach, resolved);
    if (source) registerOrigin(backend, { source, timeout: resolved.sessionTimeout });
    return backend;
  } catch (error) {
    await client.close().catch(() => {}); // the first error is the cause
    throw error;
  }
}

/** Tries the hosts in turn, where there are several, until one is the primary. */
async function buildOnPrimary(reach: Reach, options: ResolvedOptions): Promise<Backend> {
  const { client, source } = reach;
  for (let left = source?.hosts.count ?? 1;; left--) {
    const index = source?.hosts.index;
    try {
      return await build(reach, options);
    } catch (error) {
      if (left <= 1 || !(error instanceof BackendError)) throw error;
      source!.hosts.leave(index!);
      client.discard?.();
    }
  }
}

/** Reaches the server of a URL. */
async function reachUrl({ target, address }: ReturnType<typeof parseUrl>, options: ResolvedOptions): Promise<Reach> {
  const source: GuardedSource = await sourceOf(address.driver, options.driver, {
    identity: target.text,
    conceal: concealerFor(target),
    timeLimit: address.driver.connect_timeout as number | undefined,
  });
  source.abandoned = new AbandonedConnections(source);
  const client = new OwnPool(source, options.maxConnections, options.answerTimeout);
  return { client, renewals: new OwnPool(source, 1, options.answerTimeout, { idle: client }), source };
}

/** Reaches a server through what the caller has. */
async function reachExternal(target: unknown, options: ResolvedOptions): Promise<Reach> {
  const wanted = "a pool of node-postgres, or a function (text, parameters) => Promise<rows> that sends through it";
  const refusal = refuseOrm("use this as a PostgreSQL database", target, wanted);
  if (refusal) throw refusal;
  if (isPgPool(target)) {
    checkPgPool(target);
    const source = sourceOfPool(target);
    source.abandoned = new AbandonedConnections(sourceOfPool(target, {})); // with the name that the pool's clients have
    const open = () => new ExternalPool(target, source, options.answerTimeout);
    return { client: open(), renewals: open(), source };
  }
  if (isBunSql(target)) {
    throw new TypeError(
      'Cannot keep locks on Bun\'s "SQL", which has no sessions to listen on: want a URL, or in "lease" mode a function ' +
        "such as (text, parameters) => sql.unsafe(text, parameters)",
    );
  }
  if (isInstance(target)) {
    const source: GuardedSource | undefined = await sourceOf(target.options).catch(() => undefined);
    if (source) source.abandoned = new AbandonedConnections(source);
    const client = new ExternalSql(target, options.answerTimeout, source?.abandoned);
    // the program may use all connections of its instance for longer than a lease lasts
    const renewals = source ? new OwnPool(source, 1, options.answerTimeout, { instead: client }) : client;
    return { client, renewals, source };
  }
  if (isPgClient(target)) {
    throw new TypeError(
      'Cannot keep locks on one client of "pg": its transactions would undo them; want its Pool, or a URL',
    );
  }
  if (isSql(target)) {
    throw new TypeError('Cannot keep locks on this "sql": want an instance of postgres.js, not its transaction');
  }
  if (typeof target !== "function") {
    throw new TypeError(
      'Cannot use this as a PostgreSQL database: want a URL, a "sql" instance of postgres.js, a pool of "pg", or a function that ' +
        "sends a statement, such as (text, parameters) => pool.query(text, parameters).then(({ rows }) => rows)",
    );
  }
  if (options.mode !== "lease") {
    throw new UnsupportedError(
      `Cannot use "${options.mode}" mode through a function: it needs connections of its own; want a URL, or "lease" mode`,
    );
  }
  const client = new ExternalFunction(target as PostgresExecutor);
  return { client, renewals: client };
}

async function build(reach: Reach, options: ResolvedOptions): Promise<Backend> {
  const { client, renewals, source } = reach;
  const { mode, table, migrate, sessionTimeout } = options;
  if (client instanceof ExternalFunction && !migrate) return rowBackend(reach, options, table); // needs no statement
  const server = await ensureSchema(client, table, mode === "session" ? "sequence" : "table", migrate);
  if (server.replica && source && source.hosts.count > 1) {
    throw new BackendError("Cannot connect to PostgreSQL: none of the hosts is the primary", { retryable: true });
  }
  client.prepare = renewals.prepare = server.direct;
  if (mode === "lease") return rowBackend(reach, options, server.table, canListen(server) ? source : undefined);
  if (source === undefined) throw new BackendError(`Cannot use "${mode}" mode: the driver "postgres" is not installed`);
  await requireSessions(`"${mode}" mode`, server, source);
  if (mode === "hybrid") {
    const liveness = new Liveness((signal) => openLivenessLock(source, server.table, sessionTimeout, signal));
    return rowBackend(reach, options, server.table, source, liveness);
  }
  const restore = async () => void await ensureSchema(client, server.table, "sequence", migrate);
  const parts = { client, source, table: server.table, timeout: sessionTimeout, restore };
  return new SessionBackend(new PostgresSessionEngine(parts));
}

/** A backend with rows: leases, or hybrid locks with a liveness lock. */
function rowBackend(
  { client, renewals, source: own }: Reach,
  { mode, sessionTimeout, migrate }: ResolvedOptions,
  table: string,
  source?: GuardedSource,
  liveness?: Liveness,
): Backend {
  const statements = statementsFor(table);
  const clock = new ServerClock();
  return new RowBackend({
    mode,
    table,
    client,
    renewals,
    abandoned: own?.abandoned,
    statements,
    clock,
    ...(source ? { waiters: new Waiters(source, sessionTimeout, poll(client, statements, clock, liveness)) } : {}),
    ...(liveness ? { liveness } : {}),
    restore: async () => void await ensureSchema(client, table, "table", migrate),
  });
}

/**
 * Polls for awaited names with a holder that is gone, and for those that have changed hands, unless this process waits
 * in the queue of the name: then it is notified.
 */
function poll(client: Client, statements: Statements, clock: ServerClock, liveness: Liveness | undefined): Look {
  let before = new Map<string | null, Row>();
  return async (names, channel) => {
    await liveness?.lock(); // after a failover a new session shortens the leases that are waited for
    const askedAt = monotonic();
    const rows = await client.send(statements.poll, [JSON.stringify(names), channel ?? null]);
    if (rows.length > 0) clock.note(askedAt, rows[0].now);
    const hasChanged = ({ name, token, position }: Row) => {
      const last = before.get(name);
      return last !== undefined && position === null && (last.token !== token || last.position !== null);
    };
    const free = rows.filter((row) => row.free === "true" || hasChanged(row)).map(({ name }) => name!);
    before = new Map(rows.map((row) => [row.name, row]));
    const pauses = rows.map(({ session, position, lasts }) => {
      const pause = pauseOf(session === "true", Number(position ?? 1));
      return position === "1" && lasts !== null ? Math.min(pause, Math.max(Number(lasts), 0) + AFTER_EXPIRY_MS) : pause;
    });
    return { free, again: Math.min(...pauses) };
  };
}

/**
 * What `connect` loads for the URLs of PostgreSQL.
 *
 * @example
 * ```ts
 * import { engine } from "@lockmgr/lockmgr/postgres";
 * import assert from "node:assert/strict";
 *
 * assert.match(engine.schema!("my_locks"), /CREATE TABLE/);
 * ```
 */
export const engine: Engine = {
  open: postgresBackend,
  schema: (table, parameters) => printedSchema(inSchema(table, parameters && schemaIn(parameters))),
};
