/**
 * What this engine needs of a client, and npm:postgres behind it, imported when it is first wanted.
 *
 * @module
 */
import { BackendError } from "../../core/errors.ts";
import type { Row } from "./rows.ts";
import { Sockets } from "./sockets.ts";

/**
 * Sends one statement with `$1`-style parameters and answers its rows, each an object by column name. What other
 * clients can be wrapped in: `(text, parameters) => pool.query(text, parameters).then(({ rows }) => rows)`.
 */
export type PostgresExecutor = (text: string, parameters: (string | null)[]) => Promise<readonly object[]>;

/** What came back: rows, and the process id that the server gave when the connection was made. */
export type SqlResult = readonly Row[] & { readonly state?: { readonly pid: number | null } };

/** A `sql` instance of postgres.js, as far as it is used here. */
export interface PostgresSql {
  /** Sends a statement as it is. */
  unsafe(text: string, parameters?: (string | null)[], options?: { prepare?: boolean }): PromiseLike<SqlResult>;
  /** Its options after parsing. */
  readonly options: SqlOptions;
  /** Runs a transaction; a transaction object has none. */
  begin?: unknown;
  /** Runs a part of a transaction; only a transaction object has it. */
  savepoint?: unknown;
  /** Closes its connections. */
  end(options?: { timeout?: number }): Promise<void>;
}

/** What is read of postgres.js's options. */
export interface SqlOptions {
  /** Where the server is. */
  readonly host: readonly string[];
  readonly port: readonly number[];
  /** A Unix socket instead. */
  readonly path?: string | false;
  /** Whether statements may be prepared. */
  readonly prepare?: boolean;
  readonly [option: string]: unknown;
}

/** Options for postgres.js, as the caller may give them. */
export type DriverOptions = Record<string, unknown>;

/** Makes a `sql` instance: the function that npm:postgres exports. */
type Postgres = (target: string | DriverOptions, options?: DriverOptions) => PostgresSql;

/** Options of every instance made here: no query but ours, no reconnection after a while, no printing of notices. */
const OPTIONS = { fetch_types: false, max_lifetime: null, idle_timeout: null, onnotice: () => {}, connect_timeout: 15 };

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

/** How to make connections of our own: from a URL, or as a `sql` instance of the caller's makes them. */
export interface Source {
  /** A new instance; nothing is opened until it is used. */
  open(options: DriverOptions): { sql: PostgresSql; sockets: Sockets };
}

/** Loads the driver for a URL, or for the options of another instance. */
export async function sourceOf(target: string | SqlOptions, further: DriverOptions = {}): Promise<Source> {
  const postgres = await load();
  return {
    open(options) {
      const sockets = new Sockets();
      const all = { ...OPTIONS, ...further, ...sockets.option(), ...options };
      if (typeof target === "string") return { sql: postgres(target, all), sockets };
      const { shared: _shared, ...parsed } = target;
      return { sql: postgres({ ...parsed, ...all }), sockets };
    },
  };
}

/** Whether a value is a `sql` instance of postgres.js, or its transaction. */
export function isSql(value: unknown): value is PostgresSql {
  return typeof value === "function" && typeof (value as Partial<PostgresSql>).unsafe === "function";
}
