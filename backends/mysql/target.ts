/**
 * Where the server is, how connections to it are set up, and how a URL says it.
 *
 * @module
 */
import { type BackendSettings, refuseUnknown, resolveSettings, takeSettings } from "../../core/settings.ts";
import { type DriverPool, type MysqlPool, poolBehind } from "./driver.ts";

/**
 * How a MySQL or MariaDB backend is set up.
 *
 * @example
 * ```ts
 * import type { MysqlOptions } from "@lockmgr/lockmgr/mysql";
 * import assert from "node:assert/strict";
 *
 * const options: MysqlOptions = { mode: "hybrid", table: "my_locks", migrate: false, timeout: 5, ssl: true };
 * assert.equal(options.mode, "hybrid");
 * ```
 */
export interface MysqlOptions extends BackendSettings {
  /** The most connections that leases use; each is opened when it is needed. @default 10 */
  connections?: number;
  /** Seconds to wait for an answer of the server, and for a connection to it, before giving up. @default 10 */
  timeout?: number;
  /**
   * Seconds after which the server frees the locks of a session that it hears nothing of (`session` and `hybrid`); the
   * holder is told after two thirds of it. @default 30
   */
  sessionTimeout?: number;
  /** TLS: `true`, or the options of `node:tls` such as `{ ca, cert, key, rejectUnauthorized }`. @default false */
  ssl?: boolean | Record<string, unknown>;
}

/** A target after its checks. */
export interface Target {
  /** What npm:mysql2 opens a connection with. */
  readonly config: Record<string, unknown>;
  /** The caller's pool. */
  readonly pool: DriverPool | undefined;
  /** The options after their checks. */
  readonly options: Required<BackendSettings> & Required<Omit<MysqlOptions, "ssl" | keyof BackendSettings>>;
}

const OWN_OPTIONS = ["connections", "timeout", "sessionTimeout", "ssl"];

/** What a URL may say about the connection, besides `lockmgr_…`. */
const PARAMETERS = ["ssl", "charset", "socketPath"];

/** A number between limits, or the default. */
function between(what: string, value: unknown, fallback: number, least: number, most: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    const Wrong = typeof value === "number" ? RangeError : TypeError;
    throw new Wrong(`Cannot use ${what} ${String(value)}: want ${least} to ${most}`);
  }
  return value;
}

/** The parts of a URL; its password must not show in any error. */
function parseUrl(text: string): URL {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // The platform's own error would show the URL.
  }
  if (!url || !/^(mysql|mariadb):$/.test(url.protocol)) {
    throw new TypeError("Cannot use this as a MySQL or MariaDB URL: want mysql://user:password@host:port/database");
  }
  return url;
}

/** What a URL says about the connection. */
function configOf(url: URL): Record<string, unknown> {
  for (const key of url.searchParams.keys()) {
    if (PARAMETERS.includes(key)) continue;
    const known = PARAMETERS.join(", ");
    throw new TypeError(`Cannot use URL parameter ${JSON.stringify(key)} on MySQL: want ${known} or lockmgr_…`);
  }
  const part = (value: string) => value === "" ? undefined : decodeURIComponent(value);
  const ssl = url.searchParams.get("ssl");
  if (ssl !== null && !["true", "false"].includes(ssl)) {
    throw new TypeError(`Cannot use ssl=${ssl} in a URL: want true or false; certificates go into the option "ssl"`);
  }
  return {
    host: part(url.hostname.replace(/^\[|\]$/g, "")) ?? "localhost",
    port: url.port === "" ? 3306 : Number(url.port),
    user: part(url.username),
    password: part(url.password),
    database: part(url.pathname.slice(1)),
    ...(url.searchParams.has("socketPath") ? { socketPath: url.searchParams.get("socketPath") } : {}),
    ...(url.searchParams.has("charset") ? { charset: url.searchParams.get("charset") } : {}),
    ...(ssl === "true" ? { ssl: {} } : {}),
  };
}

/** What says where a pool's server is and how it lets the pool in; the rest is about the pool's own statements. */
const REACH = [
  "host",
  "port",
  "socketPath",
  "localAddress",
  "user",
  "password",
  "password1",
  "password2",
  "password3",
  "passwordSha1",
  "database",
  "ssl",
  "authPlugins",
  "authSwitchHandler",
  "insecureAuth",
  "enableCleartextPlugin",
  "stream",
];

/** The settings of a pool that connections of our own need as well. */
function reachOf(pool: DriverPool): Record<string, unknown> {
  const all = pool.config.connectionConfig;
  return Object.fromEntries(REACH.filter((key) => all[key] !== undefined).map((key) => [key, all[key]]));
}

/** Settings of the driver that connections of our own need, whatever the caller's are. */
const FIXED = { multipleStatements: false, supportBigNumbers: true, bigNumberStrings: false, enableKeepAlive: true };

/**
 * Checks a target and its options, before any I/O.
 *
 * @throws {TypeError | RangeError} For what cannot be.
 */
export function resolveTarget(target: string | URL | MysqlPool, given: MysqlOptions): Target {
  const pool = poolBehind(target);
  if (!pool && typeof target !== "string" && !(target instanceof URL)) {
    throw new TypeError("Cannot use this as a MySQL or MariaDB database: want a URL or a pool of mysql2");
  }
  const url = pool ? undefined : parseUrl(String(target));
  const all = { ...(url ? takeSettings(url.searchParams) : {}), ...given };
  refuseUnknown("MySQL", all, OWN_OPTIONS);
  const timeout = between("timeout", all.timeout, 10, 0.1, 86_400);
  const ssl = all.ssl === undefined ? {} : { ssl: all.ssl === true ? {} : all.ssl === false ? undefined : all.ssl };
  const config = {
    ...(pool ? reachOf(pool) : configOf(url!)),
    ...ssl,
    ...FIXED,
    connectTimeout: timeout * 1e3,
  };
  const options = {
    ...resolveSettings(all),
    connections: Math.floor(between("connections", all.connections, 10, 1, 1_000)),
    timeout,
    sessionTimeout: between("sessionTimeout", all.sessionTimeout, 30, 1, 86_400),
  };
  return { config, pool, options };
}
