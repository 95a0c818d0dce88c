/**
 * The adapter of npm:postgres, which is imported when it is first needed. Only this file and `sockets.ts` use what the
 * driver does not document; `driver_test.ts` fails when the driver changes that.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { Rotation } from "../../../core/util/rotation.ts";
import { hostname } from "../../../core/util/runtime.ts";
import type { Row } from "../rows/rows.ts";
import { isNotPrimary } from "../errors.ts";
import { inlineParameters } from "./inline_parameters.ts";
import { Sockets } from "./sockets.ts";

/** The name that our own connections give to the server, unless the caller has one. */
export const programName = () => `lockmgr ${hostname()}`;

/**
 * Sends one statement with `$1`-style parameters and returns its rows, each an object by column name, or a result that
 * has them as `rows`. Any client can be wrapped in such a function.
 *
 * @example
 * ```ts
 * import { type PostgresExecutor } from "@lockmgr/lockmgr/postgres";
 * import pg from "pg";
 *
 * const pool = new pg.Pool({ connectionString: "postgres://app@db.example.org/app" });
 * const execute: PostgresExecutor = (text, parameters) => pool.query(text, parameters);
 * console.log("an argument of postgresBackend:", execute);
 * ```
 */
export type PostgresExecutor = (text: string, parameters: (string | null)[]) => PromiseLike<unknown>;

/**
 * What is used of a transaction of postgres.js, which `begin` passes to its callback.
 *
 * @example
 * ```ts
 * import { advisoryLock, type PostgresTransaction } from "@lockmgr/lockmgr/postgres";
 * import postgres from "postgres";
 *
 * const once = (tx: PostgresTransaction) => advisoryLock(tx, "report"); // until the transaction ends
 * const sql = postgres("postgres://app@db.example.org/app");
 * export const report = () => sql.begin(async (tx) => void await once(tx));
 * ```
 */
export interface PostgresTransaction {
  /** Sends a statement as it is. */
  unsafe(
    text: string,
    parameters?: (string | null)[],
    options?: { prepare?: boolean; simple?: boolean },
  ): PromiseLike<readonly object[]>;
}

/**
 * What is used of a `sql` instance of postgres.js.
 *
 * @example
 * ```ts
 * import { postgresBackend, type PostgresSql } from "@lockmgr/lockmgr/postgres";
 * import postgres from "postgres";
 *
 * const sql: PostgresSql = postgres("postgres://app@db.example.org/app");
 * export const open = () => postgresBackend(sql, { mode: "hybrid" });
 * ```
 */
export interface PostgresSql extends PostgresTransaction {
  /** Its options after parsing. */
  readonly options: object;
  /** Closes its connections. */
  end(options?: { timeout?: number }): Promise<void>;
}

/** Options for postgres.js, as the caller gives them or as an instance has parsed them. */
export type DriverOptions = Record<string, unknown>;

/** The process id that the server gave to a connection, as the driver keeps it. */
interface ConnectionState {
  readonly pid: number | null;
}

/** An answer: rows, and the state of the connection that they came from. */
export type SqlResult = readonly Row[] & { readonly state?: ConnectionState };

/** A statement in progress. It has no state before it was sent, and is active once the server works on it. */
export type Query = PromiseLike<SqlResult> & {
  readonly state?: ConnectionState | null;
  readonly active?: boolean;
  readonly canceller?: ((query: Query) => Promise<void>) | null;
};

/** A transaction, a reserved connection or an instance, with the answers as they are. */
export interface Sender {
  /** Sends a statement as it is. */
  unsafe(...statement: Parameters<PostgresTransaction["unsafe"]>): Query;
}

/** A transaction: it goes on when what was sent behind a savepoint fails. */
export interface Transaction extends Sender {
  savepoint(work: (sql: Sender) => Promise<void>): Promise<void>;
}

/** An instance, with its options after parsing. */
export interface Instance extends Sender {
  readonly options: DriverOptions;
  end(options?: { timeout?: number }): Promise<void>;
}

/**
 * Sends one statement in the extended protocol, which takes no second one. The parameters of an unprepared statement are
 * written into its text: the driver would ask the server for their types first, which is a second round trip, and one
 * that a pooler loses behind another statement on the connection (PgBouncer 1.18 gives the server to the next client
 * in between).
 */
export function sendStatement(sql: Sender, text: string, parameters: (string | null)[], prepare: boolean): Query {
  if (prepare) return sql.unsafe(text, parameters, { prepare, simple: false });
  return sql.unsafe(inlineParameters(text, parameters), [], { prepare, simple: false });
}

/** Returns the server's process id of the connection that a statement was sent on, as text. */
export function processIdOf(answer: SqlResult | Query | undefined): string | undefined {
  const pid = answer?.state?.pid;
  return pid === undefined || pid === null ? undefined : String(pid);
}

/**
 * Cancels a statement at the server, through another connection; resolves when the server has the request. The driver's
 * own `cancel` drops this promise: a server that cannot be reached would be an unhandled rejection.
 */
export async function cancelStatement(query: Query): Promise<void> {
  await query.canceller?.(query);
}

/** Whether a statement waits on its connection behind another. */
export function isQueued(query: Query): boolean {
  return query.active === false;
}

/** Whether a value is a `sql` of postgres.js: an instance, a transaction or a reserved connection. */
export function isSql(value: unknown): value is Sender {
  return typeof value === "function" && typeof (value as Partial<Sender>).unsafe === "function";
}

/** Whether a value is an instance of postgres.js, and neither its transaction nor a reserved connection. */
export function isInstance(value: unknown): value is Instance {
  return isSql(value) && typeof (value as { begin?: unknown }).begin === "function" && "options" in value;
}

/** Whether a value is a transaction of postgres.js. */
export function isTransaction(value: unknown): value is Transaction {
  return isSql(value) && "savepoint" in value;
}

/** Whether a caller's instance may prepare statements. */
export function mayPrepare(sql: Instance): boolean {
  return sql.options.prepare !== false;
}

/** The sockets of an instance of our own. */
export type OpenSockets = Pick<Sockets, "ref" | "unref" | "destroy"> & Partial<Pick<Sockets, "refusal">>;

/** An instance of our own, with its sockets. */
export interface Opened {
  readonly sql: Instance;
  readonly sockets: OpenSockets;
  /**
   * Returns an error of this instance without secrets, and with its real reason where the driver does not know it. The
   * next instance tries another host if this one was not reached, or is not the primary.
   */
  explain(error: unknown): unknown;
}

/**
 * Ends an instance: its statements have `seconds` to be answered, then its connections are cut. Every statement that was
 * cut off fails by itself.
 */
export async function endInstance({ sql, sockets }: Opened, seconds: number): Promise<void> {
  sockets.ref();
  try {
    await sql.end({ timeout: seconds });
  } catch {
    // a broken connection cannot be ended in good order
  }
  await sockets.destroy();
}

/** Opens connections of our own: from a URL, or with the options of a caller's `sql` instance. */
export interface Source {
  /** Equal for sources that open equal connections. It has the password: it is never shown. */
  readonly identity: string;
  /** The hosts that connections may lead to. */
  readonly hosts: Rotation<DriverOptions>;
  /** Makes an instance, which connects when it is used. `onLoss` is called for every connection that breaks. */
  open(options: DriverOptions, onLoss: () => void): Opened;
}

const identities = new WeakMap<object, string>();
let objects = 0;

/** Returns a number of its own for each object. */
export function identityOf(target: object): string {
  if (!identities.has(target)) identities.set(target, String(objects++));
  return identities.get(target)!;
}

/** What is known of options that were made from a URL. */
export interface Origin {
  /** Equal for equal URLs. */
  readonly identity: string;
  /** Hides the URL's secrets in an error. */
  readonly conceal: (error: unknown) => unknown;
  /** Seconds for a connection to be made, if the URL says. */
  readonly timeLimit?: number;
}

/**
 * Options of every instance made here: no query but ours, no reconnection after a while, no printing of notices. And no
 * pause before a connection is made again: the driver counts each that broke and triples the pause, up to 20 s.
 */
const OPTIONS = {
  fetch_types: false,
  max_lifetime: null,
  idle_timeout: null,
  backoff: () => 0,
  onnotice: () => {},
  connect_timeout: 15,
};

/** Loads npm:postgres. */
async function load(): Promise<(options: DriverOptions) => Instance> {
  try {
    return (await import("postgres")).default as unknown as (options: DriverOptions) => Instance;
  } catch (error) {
    throw new BackendError(
      'Cannot load the driver "postgres": it is not installed; want "npm install postgres" (Node), ' +
        '"bun add postgres" (Bun) or "deno add npm:postgres" (Deno)',
      { cause: error },
    );
  }
}

/** Whether a connection without TLS is an error, as the driver's options have it. */
function requiresTls(ssl: unknown): boolean {
  return Boolean(ssl) && !["prefer", "allow"].includes(ssl as string);
}

/**
 * Returns the hosts of the driver's options, of which one is used at a time. The driver's own choice cannot be used: it
 * takes a standby for `read-write`, and asks the hosts in turn without a pause while none is a primary.
 */
function hostsOf({ host, port }: DriverOptions): Rotation<DriverOptions> {
  if (!Array.isArray(host) || host.length <= 1) return new Rotation([{}]); // there is no choice
  const ports = Array.isArray(port) ? port : [port];
  return new Rotation(host.map((name, index) => {
    return { host: [name], port: [ports[index] ?? ports[0]], target_session_attrs: undefined };
  }));
}

/** Loads the driver for options of our own or of another instance; `further` ones win. */
export async function sourceOf(
  target: DriverOptions,
  further: DriverOptions = {},
  origin: Origin = { identity: identityOf(target), conceal: (error) => error },
): Promise<Source> {
  const postgres = await load();
  const { shared: _marksParsedOptions, ...own }: DriverOptions = { ...target, ...further };
  // administrators see this name, unless the URL or the program says another
  own.connection = {
    application_name: programName(),
    ...target.connection as object,
    ...further.connection as object,
  };
  const hosts = hostsOf(own);
  return {
    hosts,
    identity: `${origin.identity} ${Object.keys(further).length > 0 ? identityOf(further) : ""}`,
    open(options, onLoss) {
      const sockets = new Sockets(onLoss, requiresTls(own.ssl));
      const all = {
        ...own,
        ...OPTIONS,
        ...(origin.timeLimit === undefined ? {} : { connect_timeout: origin.timeLimit }),
        transform: undefined, // it would change the names of columns
        ...sockets.option(own.socket),
        ...hosts.current,
        ...options,
      };
      const { index } = hosts;
      const explain = (error: unknown) => {
        if (!sockets.heard || isNotPrimary(error)) hosts.leave(index); // another host may be the primary
        return sockets.refusal ?? origin.conceal(error);
      };
      return { sql: postgres(all), sockets, explain };
    },
  };
}
