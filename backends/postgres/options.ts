/**
 * How a PostgreSQL backend is set up, and what a URL says of it.
 *
 * @module
 */
import { type BackendSettings, refuseUnknown, resolveSettings } from "../../core/options/settings.ts";
import { parseTargetOf, type ServerTarget } from "../../core/options/target.ts";
import { DEFAULT_ANSWER_TIMEOUT } from "./connection/client.ts";
import type { DriverOptions } from "./connection/driver.ts";
import { type Address, addressOf } from "./url_parameters.ts";

/**
 * How a PostgreSQL backend is set up.
 *
 * @example
 * ```ts
 * import { postgresBackend, type PostgresOptions } from "@lockmgr/lockmgr/postgres";
 *
 * const options: PostgresOptions = { mode: "hybrid", table: "app.locks", migrate: false, sessionTimeout: 30 };
 * export const open = () => postgresBackend("postgres://app@db.example.org/app", options);
 * ```
 */
export interface PostgresOptions extends BackendSettings {
  /** How many connections of its own a backend may open for leases. @default 4 */
  max?: number;
  /**
   * Seconds after which the server ends a session that has gone silent, and with it the locks that ride on it (`session`
   * and `hybrid`). The holder asks after a third of it without a sign of life, and gives its locks up after nine tenths. @default 15
   */
  sessionTimeout?: number;
  /** Seconds to wait for the answer to a statement; what was given up is ended at the server. @default 15 */
  answerTimeout?: number;
  /** Further options of postgres.js for connections made from a URL, such as `ssl` with a certificate. */
  driver?: Record<string, unknown>;
}

/** The options after their checks. */
export interface ResolvedOptions extends Required<BackendSettings> {
  /** Connections for leases. */
  readonly max: number;
  /** Seconds. */
  readonly sessionTimeout: number;
  /** Seconds. */
  readonly answerTimeout: number;
  /** For postgres.js. */
  readonly driver: DriverOptions;
}

const DEFAULT_MAX = 4;
const DEFAULT_SESSION_TIMEOUT = 15;

/** Shorter, and a busy event loop would end sessions; longer, and the server's own limits of milliseconds overflow. */
const SESSION_TIMEOUT = { least: 0.3, most: 86_400 };

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {TypeError | RangeError} For an option that nobody knows or that cannot be.
 */
export function resolveOptions(options: PostgresOptions): ResolvedOptions {
  refuseUnknown("PostgreSQL", options, ["max", "sessionTimeout", "answerTimeout", "driver"]);
  const {
    max = DEFAULT_MAX,
    sessionTimeout = DEFAULT_SESSION_TIMEOUT,
    answerTimeout = DEFAULT_ANSWER_TIMEOUT,
    driver = {},
  } = options;
  const settings = resolveSettings(options);
  if (!Number.isSafeInteger(max) || max < 1) {
    throw new RangeError(`Cannot use max ${String(max)}: want a number of connections, 1 or more`);
  }
  const { least, most } = SESSION_TIMEOUT;
  if (typeof sessionTimeout !== "number" || !(sessionTimeout >= least && sessionTimeout <= most)) {
    throw new RangeError(`Cannot use sessionTimeout ${String(sessionTimeout)}: want ${least} to ${most} seconds`);
  }
  if (typeof answerTimeout !== "number" || !(answerTimeout >= least && answerTimeout <= most)) {
    throw new RangeError(`Cannot use answerTimeout ${String(answerTimeout)}: want ${least} to ${most} seconds`);
  }
  if (typeof driver !== "object" || driver === null) {
    throw new TypeError(`Cannot use driver ${String(driver)}: want an object of postgres.js options`);
  }
  return { ...settings, max, sessionTimeout, answerTimeout, driver };
}

/**
 * Returns what a URL says: where the server is, in the driver's terms, and the settings.
 *
 * @throws {TypeError} When it is no URL of PostgreSQL, or has an unknown parameter.
 */
export function parseUrl(target: string | URL): { target: ServerTarget; address: Address } {
  const parsed = parseTargetOf(target, "server", ["postgres:", "postgresql:"]);
  return { target: parsed, address: addressOf(parsed) };
}
