/**
 * The options of a MySQL or MariaDB backend, and the settings of its connections.
 *
 * @module
 */
import { checkOptions, type KnownOptions } from "../../core/options/known_options.ts";
import { type BackendSettings, resolveSettings, SETTING_OPTIONS } from "../../core/options/settings.ts";
import { concealerFor, parseTargetOf } from "../../core/options/target.ts";
import { addressSettings, type DriverPool, type MysqlPool, poolBehind } from "./connection/driver.ts";
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

/** A number between limits, or the default. */
function between(what: string, value: unknown, fallback: number, least: number, most: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    const Wrong = typeof value === "number" ? RangeError : TypeError;
    throw new Wrong(`Cannot use ${what} ${String(value)}: want ${least} to ${most}`);
  }
  return value;
}

/** Settings of the driver that connections of our own need, whatever the settings of the caller are. */
const FIXED = { multipleStatements: false, supportBigNumbers: true, bigNumberStrings: false, enableKeepAlive: true };

/**
 * Checks a target and its options, before any I/O.
 *
 * @throws {TypeError | RangeError} For a target or an option that is invalid.
 */
export function resolveTarget(target: string | URL | MysqlPool, given: MysqlOptions): ResolvedTarget {
  checkOptions("on MySQL", given, OPTIONS);
  const pool = poolBehind(target);
  if (!pool && typeof target !== "string" && !(target instanceof URL)) {
    throw new TypeError("Cannot use this as a MySQL or MariaDB database: want a URL or a pool of mysql2");
  }
  const url = pool ? undefined : parseTargetOf(target, "server", ["mysql:", "mariadb:"]);
  const address = url && addressOf(url);
  const all = { ...url?.settings, ...given };
  const answerTimeout = between("answerTimeout", all.answerTimeout, 15, 0.3, 86_400);
  const ssl = all.ssl === undefined ? {} : { ssl: all.ssl === true ? {} : all.ssl === false ? undefined : all.ssl };
  const config = {
    connectTimeout: answerTimeout * 1e3,
    ...(pool ? addressSettings(pool) : address!.config),
    ...ssl,
    ...FIXED,
  };
  const options = {
    ...resolveSettings(all),
    maxConnections: Math.floor(between("maxConnections", all.maxConnections, 10, 1, 1_000)),
    answerTimeout,
    sessionTimeout: between("sessionTimeout", all.sessionTimeout, 15, 1, 86_400),
  };
  const prefersTls = all.ssl === undefined && (address?.prefersTls ?? false);
  return {
    config,
    hosts: address?.hosts ?? [{}],
    pool,
    options,
    prefersTls,
    conceal: url ? concealerFor(url) : (error) => error,
  };
}
