/**
 * The options of a PostgreSQL backend, and what a URL says.
 *
 * @module
 */
import type { KnownOptions } from "../../core/options/known_options.ts";
import { type BackendSettings, numberBetween, resolveSettings, SETTING_OPTIONS } from "../../core/options/settings.ts";
import { parseTargetOf, type ServerTarget } from "../../core/options/target.ts";
import { DEFAULT_ANSWER_TIMEOUT } from "./connection/client.ts";
import { type Address, addressOf } from "./url_parameters.ts";

/**
 * Options of `postgresBackend`.
 *
 * @example
 * ```ts
 * import { postgresBackend, type PostgresOptions } from "@lockmgr/lockmgr/postgres";
 *
 * const options: PostgresOptions = { mode: "hybrid", table: "app.locks", migrate: false, maxConnections: 4 };
 * export const open = () => postgresBackend("postgres://app@db.example.org/app", options);
 * ```
 */
export interface PostgresOptions extends BackendSettings {
  /** How many connections of its own a backend may open for leases; each is opened when it is needed. @default 10 */
  maxConnections?: number;
  /**
   * Seconds after which the server ends a session that has gone silent, and with it the locks that it carries (`session`
   * and `hybrid`). The holder sends a heartbeat after a third of it, and is told after nine tenths. It holds for `advisoryLock` as well.
   * @default 15
   */
  sessionTimeout?: number;
  /** Seconds to wait for the answer to a statement, which is then ended at the server. @default 15 */
  answerTimeout?: number;
  /** Further options of postgres.js for connections made from a URL, such as `ssl` with a certificate. */
  driver?: Record<string, unknown>;
}

/** The options; those of the driver are its own. */
export const OPTIONS: KnownOptions<PostgresOptions> = {
  ...SETTING_OPTIONS,
  maxConnections: "number",
  sessionTimeout: "number",
  answerTimeout: "number",
  driver: "object",
};

/** The options after their checks. */
export type ResolvedOptions = Required<PostgresOptions>;

/** Limits of times (s). Shorter, and a busy event loop would end sessions; longer, and the server's own limits overflow. */
const TIMES = [0.3, 86_400] as const;

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {TypeError | RangeError} For a value out of range.
 */
export function resolveOptions(options: PostgresOptions): ResolvedOptions {
  const { maxConnections = 10, driver = {} } = options;
  const settings = resolveSettings(options);
  if (!Number.isSafeInteger(maxConnections) || maxConnections < 1) {
    throw new RangeError(`Cannot use maxConnections ${String(maxConnections)}: want a whole number, 1 or more`);
  }
  if (typeof driver !== "object" || driver === null) {
    throw new TypeError(`Cannot use driver ${String(driver)}: want an object of postgres.js options`);
  }
  const sessionTimeout = numberBetween("sessionTimeout", options.sessionTimeout, 15, ...TIMES);
  const answerTimeout = numberBetween("answerTimeout", options.answerTimeout, DEFAULT_ANSWER_TIMEOUT, ...TIMES);
  return { ...settings, maxConnections, sessionTimeout, answerTimeout, driver };
}

/**
 * Returns what a URL says: where the server is, in the driver's terms, and the settings.
 *
 * @throws {TypeError} For a URL of another engine, or one with an unknown parameter.
 */
export function parseUrl(target: string | URL): { target: ServerTarget; address: Address } {
  const parsed = parseTargetOf(target, "server", ["postgres:", "postgresql:"]);
  return { target: parsed, address: addressOf(parsed) };
}
