/**
 * The adapter of npm:pg (node-postgres), whose classes come with the caller's pool or client. Only this file and
 * `pg_connection.ts` use what the driver does not document; `pg_test.ts` fails when the driver changes that.
 *
 * @module
 */
import { hasMethods } from "../../../core/options/refused_client.ts";
import { codeOf, isEndedByServer } from "../errors.ts";
import type { DriverOptions, Query, Sender, SqlResult, Transaction } from "./driver.ts";

/**
 * What is used of a pool of node-postgres.
 *
 * @example
 * ```ts
 * import { postgresBackend, type PostgresPool } from "@lockmgr/lockmgr/postgres";
 * import pg from "pg";
 *
 * const pool: PostgresPool = new pg.Pool({ connectionString: "postgres://app@db.example.org/app" });
 * export const open = () => postgresBackend(pool, { mode: "hybrid" });
 * ```
 */
export interface PostgresPool {
  /** Takes a client out of the pool. */
  connect(): Promise<object>;
  /** How many clients it has. */
  readonly totalCount: number;
  /** How many of them are idle. */
  readonly idleCount: number;
}

/**
 * What is used of a client of node-postgres, by `advisoryLock`.
 *
 * @example
 * ```ts
 * import { advisoryLock, type PostgresClient } from "@lockmgr/lockmgr/postgres";
 *
 * export async function report(client: PostgresClient): Promise<void> {
 *   await advisoryLock(client, "report"); // until its transaction ends
 * }
 * ```
 */
export interface PostgresClient {
  /** Sends a statement. */
  query(statement: never): unknown;
  /** Quotes a name. */
  escapeIdentifier(name: string): string;
}

/** The socket of a client. */
interface Stream {
  destroy(): unknown;
  ref?(): unknown;
  unref?(): unknown;
}

/** A client, with what is used of it here. */
export interface PgClient {
  readonly host: string;
  readonly port: number;
  readonly ssl: unknown;
  readonly processID: number | null;
  readonly secretKey: unknown;
  readonly password?: unknown;
  readonly constructor: unknown;
  binary: boolean;
  /** Whether no statement is under way. */
  readonly readyForQuery: boolean;
  readonly connectionParameters: { query_timeout: unknown };
  readonly connection: {
    readonly stream: Stream;
    connect(port: number | string, host?: string): void;
    requestSsl(): void;
    cancel(processID: unknown, secretKey: unknown): void;
    on(event: "readyForQuery", listener: (message: { status: string }) => void): unknown;
    on(event: string, listener: (error: Error) => void): unknown;
  };
  connect(): Promise<unknown>;
  query(statement: object): Promise<{ rows: SqlResult }>;
  end(): Promise<void>;
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (argument: any) => void): unknown;
  removeListener(event: string, listener: () => void): unknown;
}

/** The class of clients. */
export type PgClientClass = new (options: DriverOptions) => PgClient;

/** A pool, with what is used of it here. */
export interface PgPool extends PostgresPool {
  readonly waitingCount: number;
  listeners(event: "connect"): ((client: PgClient) => unknown)[];
  readonly Client: PgClientClass;
  readonly options: DriverOptions;
  on(event: "error", listener: () => void): unknown;
}

/** Whether a value is a pool of node-postgres. */
export function isPgPool(value: unknown): value is PgPool {
  return typeof value === "object" && hasMethods(value, ["connect", "query", "Client"]) && "totalCount" in value!;
}

/** Whether a value is a client of node-postgres, of a pool or alone. */
export function isPgClient(value: unknown): value is PgClient {
  return typeof value === "object" && hasMethods(value, ["query", "connect", "escapeIdentifier"]) &&
    "processID" in value!;
}

/**
 * Refuses pools whose answers or cancellation are others.
 *
 * @throws {TypeError} For a pool of `pg.native`, and for one with the option `binary`.
 */
export function checkPgPool({ Client, options }: PgPool): void {
  if (typeof Client.prototype.getStartupConf !== "function") {
    throw new TypeError('Cannot use a pool of "pg.native": want a Pool of "pg" itself, or a URL');
  }
  if (options.binary) throw binaryRefusal();
}

/** The refusal of clients whose answers are bytes. */
export function binaryRefusal(): TypeError {
  return new TypeError('Cannot use a pool of "pg" with the option "binary": want a pool without it');
}

/** Values are read as the server sends them, whatever parsers the program has set. */
const AS_TEXT = { getTypeParser: () => (value: unknown) => value };

/** Messages of errors that have no code, and a code for each. */
const CODES: readonly [RegExp, string][] = [
  [/^Connection terminated due to|^timeout e/, "CONNECT_TIMEOUT"],
  [/^Connection terminated|is not queryable|^Query read timeout/, "CONNECTION_CLOSED"],
];

/** Returns an error with a code. */
export function coded(error: unknown): unknown {
  const [, code] = CODES.find(([message]) => message.test(String((error as Error)?.message))) ?? [];
  if (code === undefined || codeOf(error) !== "") return error;
  return Object.assign(new Error((error as Error).message, { cause: error }), { code });
}

/** Sends a statement on a client in the extended protocol, which takes no second one; prepared if it has a name. */
export async function sendOn(
  client: PgClient,
  text: string,
  values: readonly (string | null)[],
  name?: string,
): Promise<SqlResult> {
  try {
    const { rows } = await client.query({ text, values, types: AS_TEXT, queryMode: "extended", name });
    return Object.assign(rows, { state: { pid: client.processID } });
  } catch (error) {
    if (isEndedByServer(error)) client.connection.stream.destroy(); // the locks are lost now
    throw coded(error);
  }
}

/** What the server said last of the transaction on each client that is watched: `I` when none is open. */
const statuses = new WeakMap<PgClient, { status?: string }>();

/**
 * Whether a transaction is open on a client, by the server's last answer. The server is asked unless that said no, with
 * `again` in any case, and while statements of the caller are under way.
 */
export async function isInTransaction(client: PgClient, again = false): Promise<boolean> {
  const known = statuses.get(client);
  const last = known ?? {};
  if (!known) {
    statuses.set(client, last);
    client.connection.on("readyForQuery", ({ status }) => last.status = status);
  }
  if (again || last.status !== "I" || !client.readyForQuery) {
    await sendOn(client, "SELECT", []).catch((error) => {
      if (codeOf(error) !== "25P02") throw error; // a transaction that has failed takes no statement
    });
  }
  return last.status !== "I";
}

/** Asks the server to cancel what runs on a client; resolves when the server has closed the connection for that. */
function cancelOn({ processID, secretKey }: PgClient, messenger: PgClient): Promise<void> {
  const { connection, host, port, ssl } = messenger;
  return new Promise((resolve, reject) => {
    const cancel = () => connection.cancel(processID, secretKey);
    connection.on("connect", () => ssl ? connection.requestSsl() : cancel());
    connection.on("sslconnect", cancel);
    connection.on("error", reject);
    connection.on("end", () => resolve());
    if (host.startsWith("/")) connection.connect(`${host}/.s.PGSQL.${port}`);
    else connection.connect(port, host);
  });
}

/** Returns a statement in progress: the promise of its answer, with what is known of it meanwhile. */
export function queryOf(
  answer: Promise<SqlResult>,
  client: () => PgClient | undefined,
  messenger: (client: PgClient) => PgClient,
): Query {
  answer.catch(() => {}); // its caller may have given up
  const canceller = async () => {
    const target = client();
    if (target) await cancelOn(target, messenger(target));
  };
  return Object.defineProperties(Object.assign(answer, { canceller }), {
    state: { get: () => client() && { pid: client()!.processID } },
    active: { get: () => client() !== undefined },
  });
}

/** The transaction on a caller's client; `undefined` when none is open. */
export async function transactionOn(client: PgClient): Promise<Transaction | undefined> {
  if (!await isInTransaction(client, true)) return undefined; // what the caller has sent before counts
  const savepoint = "lockmgr_advisory_lock";
  const sender: Sender = {
    unsafe(text, parameters = []) {
      const { constructor: Client, host, port, ssl } = client;
      const messenger = () => new (Client as PgClientClass)({ host, port, ssl });
      return queryOf(sendOn(client, text, parameters), () => client, messenger);
    },
  };
  return {
    ...sender,
    async savepoint(work) {
      await sendOn(client, `SAVEPOINT ${savepoint}`, []);
      try {
        await work(sender);
      } catch (error) {
        await sendOn(client, `ROLLBACK TO SAVEPOINT ${savepoint}`, []);
        throw error;
      } finally {
        await sendOn(client, `RELEASE SAVEPOINT ${savepoint}`, []);
      }
    },
  };
}
