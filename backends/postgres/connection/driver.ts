/**
 * What this engine needs of a client, and npm:postgres behind it, imported when it is first wanted.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { hostname } from "../../../core/util/runtime.ts";
import type { AbandonedConnections } from "./abandoned.ts";
import type { Row } from "../rows/rows.ts";
import { Sockets } from "./sockets.ts";

/**
 * Sends one statement with `$1`-style parameters and answers its rows, each an object by column name: what any client
 * can be wrapped in.
 *
 * @example
 * ```ts
 * import { type PostgresExecutor } from "@lockmgr/lockmgr/postgres";
 * import pg from "pg";
 *
 * const pool = new pg.Pool({ connectionString: "postgres://app@db.example.org/app" });
 * const execute: PostgresExecutor = (text, parameters) => pool.query(text, parameters).then(({ rows }: { rows: object[] }) => rows);
 * console.log("to be given to postgresBackend:", execute);
 * ```
 */
export type PostgresExecutor = (text: string, parameters: (string | null)[]) => Promise<readonly object[]>;

/**
 * A transaction of postgres.js, as `begin` hands it over, as far as it is used here.
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
 * A `sql` instance of postgres.js, as far as it is used here.
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

/** What came back: rows, and the process id that the server gave when the connection was made. */
export type SqlResult = readonly Row[] & { readonly state?: { readonly pid: number | null } };

/** A statement under way: `state` is of the connection that it was sent on, nothing before it was sent. */
export type Query = PromiseLike<SqlResult> & {
  readonly state?: { readonly pid: number | null } | null;
  /** Whether the server works on it, not on one before it. */
  readonly active?: boolean;
};

/** Options for postgres.js, as the caller gives them or as an instance has parsed them. */
export type DriverOptions = Record<string, unknown>;

/** A transaction, with the answers as they are. */
export interface Sender {
  /** Sends a statement as it is. */
  unsafe(
    text: string,
    parameters?: (string | null)[],
    options?: { prepare?: boolean; simple?: boolean },
  ): Query;
}

/** An instance, with its options and answers as they are. */
export interface Instance extends Sender {
  /** After parsing. */
  readonly options: DriverOptions;
  /** Closes its connections. */
  end(options?: { timeout?: number }): Promise<void>;
}

/** Makes a `sql` instance: the function that npm:postgres exports. */
type Postgres = (options: DriverOptions) => Instance;

/**
 * Options of every instance made here: no query but ours, no reconnection after a while, no printing of notices. And no
 * pause before a connection is made anew: the driver counts each that broke and triples the pause, up to 20 s, so that
 * a network that cut four at once kept the next statement waiting for seconds. What fails is repeated with pauses above.
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
async function load(): Promise<Postgres> {
  try {
    return (await import("postgres")).default as unknown as Postgres;
  } catch (error) {
    throw new BackendError('Cannot load the driver "postgres": want it installed, as by "npm install postgres"', {
      cause: error,
    });
  }
}

/** An instance of our own, and its sockets. */
export interface Opened {
  /** The instance. */
  readonly sql: Instance;
  /** Its sockets. */
  readonly sockets: Sockets;
  /** Returns an error of this instance as it may be shown, and with its real reason where the driver does not know it. */
  explain(error: unknown): unknown;
}

/** How to make connections of our own: from a URL, or as a `sql` instance of the caller's makes them. */
export interface Source {
  /** The same for all whose connections are made alike. It has the password: it is never shown. */
  readonly identity: string;
  /** Ends at the server what was given up here; where the source belongs to one backend. */
  abandoned?: AbandonedConnections;
  /** A new instance; nothing is opened until it is used. `onLoss` is told of every connection that breaks. */
  open(options: DriverOptions, onLoss: () => void): Opened;
}

const identities = new WeakMap<object, string>();
let objects = 0;

/** A number of its own for each object. */
function identityOf(target: object): string {
  if (!identities.has(target)) identities.set(target, String(objects++));
  return identities.get(target)!;
}

/** What is known of options that were made from a URL. */
export interface Origin {
  /** The same for the same URL. */
  readonly identity: string;
  /** Hides the URL's secrets in an error. */
  readonly conceal: (error: unknown) => unknown;
  /** Seconds for a connection to be made, if the URL says. */
  readonly timeLimit?: number;
}

/** Whether a connection without TLS is an error, as the driver's options have it. */
function requiresTls(ssl: unknown): boolean {
  return Boolean(ssl) && !["prefer", "allow"].includes(ssl as string);
}

/** Loads the driver for options of our own or of another instance; `further` ones win. */
export async function sourceOf(
  target: DriverOptions,
  further: DriverOptions = {},
  origin: Origin = { identity: identityOf(target), conceal: (error) => error },
): Promise<Source> {
  const postgres = await load();
  // what marks options as parsed must not be handed on, nor what would change the names of columns
  const { shared: _shared, ...own }: DriverOptions = { ...target, ...further };
  // the name that administrators see, unless the URL or the program says another
  own.connection = {
    application_name: `lockmgr ${hostname()}`,
    ...target.connection as object,
    ...further.connection as object,
  };
  return {
    identity: `${origin.identity} ${Object.keys(further).length > 0 ? identityOf(further) : ""}`,
    open(options, onLoss) {
      const sockets = new Sockets(onLoss, requiresTls(own.ssl));
      const all = {
        ...own,
        ...OPTIONS,
        ...(origin.timeLimit === undefined ? {} : { connect_timeout: origin.timeLimit }),
        transform: undefined,
        ...sockets.option(own.socket),
        ...options,
      };
      return { sql: postgres(all), sockets, explain: (error) => sockets.refusal ?? origin.conceal(error) };
    },
  };
}

/** Whether a value is a `sql` of postgres.js: an instance, a transaction or a reserved connection. */
export function isSql(value: unknown): value is Sender {
  return typeof value === "function" && typeof (value as Partial<Sender>).unsafe === "function";
}

/** Whether a value is an instance of postgres.js, and neither its transaction nor a reserved connection. */
export function isInstance(value: unknown): value is Instance {
  return isSql(value) && typeof (value as { begin?: unknown }).begin === "function" && "options" in value;
}
