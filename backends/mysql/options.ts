/**
 * The options of a MySQL or MariaDB backend, and the settings of its connections.
 *
 * @module
 */
import { checkOptions, type KnownOptions } from "../../core/options/known_options.ts";
import { type BackendSettings, numberBetween, resolveSettings, SETTING_OPTIONS } from "../../core/options/settings.ts";
import { concealerFor, parseTargetOf } from "../../core/options/target.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { isBunSql, refuseOrm } from "../../core/options/refused_client.ts";
import {
  addressSettings,
  connectionBehind,
  type DriverPool,
  type MysqlFunction,
  type MysqlPool,
  poolBehind,
} from "./connection/driver.ts";
import { addressOf } from "./url_parameters.ts";

/**
 * How a MySQL or MariaDB backend is set up.
 *
 * @example
 * ```ts
 * import type { MysqlOptions } from "@lockmgr/lockmgr/mysql";
 * import assert from "node:assert/strict";
 *
 * const options: MysqlOptions = { mode: "hybrid", table: "my_locks", migrate: false, answerTimeout: 5, ssl: true };
 * assert.equal(options.mode, "hybrid");
 * ```
 */
export interface MysqlOptions extends BackendSettings {
  /** How many connections of its own a backend may open for leases; each is opened when it is needed. @default 10 */
  maxConnections?: number;
  /**
   * Seconds after which the server ends a session that has gone silent, and with it the locks that ride on it (`session`
   * and `hybrid`). The holder gives its locks up after nine tenths of it. @default 15
   */
  sessionTimeout?: number;
  /** Seconds to wait for a connection, and for the answer to a statement. @default 15 */
  answerTimeout?: number;
  /** TLS: `true`, or the options of `node:tls` such as `{ ca, cert, key, rejectUnauthorized }`. @default false */
  ssl?: boolean | Record<string, unknown>;
}

/** A target and its options after their checks. */
export interface ResolvedTarget {
  /** The settings of npm:mysql2 for a connection. */
  readonly config: Record<string, unknown>;
  /** Those that say where the server is, for each of several hosts. */
  readonly hosts: readonly Record<string, unknown>[];
  /** The caller's pool. */
  readonly pool: DriverPool | undefined;
  /** The caller's function. */
  readonly execute: MysqlFunction | undefined;
  /** Whether to connect without TLS to a server that has none, although `config` asks for it. */
  readonly prefersTls: boolean;
  /** Removes the secrets of the URL from an error, and returns that error. */
  readonly conceal: (error: unknown) => unknown;
  /** The options after their checks. */
  readonly options: Required<BackendSettings> & Required<Omit<MysqlOptions, "ssl" | keyof BackendSettings>>;
}

const OPTIONS: KnownOptions<MysqlOptions> = {
  ...SETTING_OPTIONS,
  maxConnections: "number",
  sessionTimeout: "number",
  answerTimeout: "number",
  ssl: "object",
};

/** Settings of the driver that connections of our own need, whatever the settings of the caller are. */
const FIXED = { multipleStatements: false, supportBigNumbers: true, bigNumberStrings: false, enableKeepAlive: true };

/** Returns the error for an object that is no pool of mysql2, and no function that sends statements. */
function refuseTarget(target: unknown): TypeError | undefined {
  const what = "use this as a MySQL or MariaDB database";
  const refusal = refuseOrm(what, target, "a function (sql, parameters) => Promise<result> that sends through it");
  if (refusal) return refusal;
  const refused = (reason: string, client: string, method = "query") =>
    new TypeError(`Cannot ${what}: it is ${reason}; want (sql, parameters) => ${client}.${method}(sql, parameters)`);
  if (isBunSql(target)) return refused('an instance of Bun\'s "SQL"', "db", "unsafe");
  if (typeof target === "function") return undefined;
  const has = (name: string) => typeof (target as Record<string, unknown> | null)?.[name] === "function";
  if (has("of") && has("getConnection")) return refused("a pool cluster", 'cluster.of("…")');
  if (has("getConnection") && has("activeConnections")) return refused("a pool of the package mariadb", "pool");
  if (poolBehind(target)) return undefined;
  if (connectionBehind(target)) return refused("a single connection, not a pool", "connection");
  if (has("query") && has("isValid")) return refused("a single connection of the package mariadb", "connection");
  return new TypeError(
    `Cannot ${what}: want a URL, a pool of mysql2, or a function (sql, parameters) => Promise<result>`,
  );
}

/**
 * Checks a target and its options, before any I/O.
 *
 * @throws {TypeError | RangeError} For a target or an option that is invalid.
 */
export function resolveTarget(
  target: string | URL | MysqlPool | MysqlFunction,
  given: MysqlOptions,
): ResolvedTarget {
  checkOptions("on MySQL", given, OPTIONS);
  const isText = typeof target === "string" || target instanceof URL;
  const refusal = isText ? undefined : refuseTarget(target);
  if (refusal) throw refusal;
  const execute = typeof target === "function" ? target : undefined;
  const pool = poolBehind(target);
  const url = isText ? parseTargetOf(target, "server", ["mysql:", "mariadb:"]) : undefined;
  const address = url && addressOf(url);
  const all = { ...url?.settings, ...given };
  const answerTimeout = numberBetween("answerTimeout", all.answerTimeout, 15, 0.3, 86_400);
  const ssl = all.ssl === undefined ? {} : { ssl: all.ssl === true ? {} : all.ssl === false ? undefined : all.ssl };
  const config = {
    connectTimeout: answerTimeout * 1e3,
    ...(pool ? addressSettings(pool) : address?.config),
    ...ssl,
    ...FIXED,
  };
  const options = {
    ...resolveSettings(all),
    maxConnections: numberBetween("maxConnections", all.maxConnections, 10, 1, 1_000, ""),
    answerTimeout,
    sessionTimeout: numberBetween("sessionTimeout", all.sessionTimeout, 15, 1, 86_400),
  };
  if (!Number.isInteger(options.maxConnections)) {
    throw new RangeError(`Cannot use maxConnections ${options.maxConnections}: want a whole number`);
  }
  if (execute && options.mode !== "lease") {
    throw new UnsupportedError(
      `Cannot use "${options.mode}" mode through a function, which has no connection of its own; ` +
        'want a URL or a pool of mysql2, or "lease"',
    );
  }
  const prefersTls = all.ssl === undefined && (address?.prefersTls ?? false);
  return {
    config,
    hosts: address?.hosts ?? [{}],
    pool,
    execute,
    options,
    prefersTls,
    conceal: url ? concealerFor(url) : (error) => error,
  };
}
