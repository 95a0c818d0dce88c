/**
 * The settings that all engines share, as options and in a URL.
 *
 * @module
 */
import type { Mode } from "../backend.ts";
import { type KnownOptions, nearestOf } from "./known_options.ts";

/**
 * How a backend keeps its locks, on every engine.
 *
 * @example
 * ```ts
 * import { type BackendSettings, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const settings: BackendSettings = { mode: "lease", table: "my_locks", migrate: true };
 * await using backend = await connect("sqlite::memory:", { ...settings });
 * assert.equal(backend.mode, "lease");
 * ```
 */
export interface BackendSettings {
  /** How locks are kept: see `Mode`. SQLite has `"lease"` only. @default "lease" */
  mode?: Mode;
  /** The table that holds the locks: only those in the same table exclude each other. @default "lockmgr_locks" */
  table?: string;
  /** Creates the table on first use; `false` never runs DDL: run what `schemaOf` returns by hand. @default true */
  migrate?: boolean;
}

const DEFAULT_TABLE = "lockmgr_locks";

/** What the settings may be as text. A table is a name, or a schema and a name, within PostgreSQL's 63 bytes. */
const SETTINGS = {
  mode: { matches: /^(?:lease|session|hybrid)$/, wanted: '"lease", "session" or "hybrid"' },
  table: {
    matches: /^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$/,
    wanted: 'letters, digits and "_", at most 63, with or without a schema',
  },
  migrate: { matches: /^(?:true|false)$/, wanted: "true or false" },
} as const;

const NUMBER = { matches: /^\d{1,9}(\.\d{1,9})?$/, wanted: "a number" };

/** The settings as options. */
export const SETTING_OPTIONS: KnownOptions<BackendSettings> = { mode: "string", table: "string", migrate: "boolean" };

const NAMES = Object.keys(SETTINGS) as (keyof typeof SETTINGS)[];

/** The options of an engine that are numbers: a URL may have them, too, and the engine checks their range. */
interface EngineNumbers {
  maxConnections?: number;
  sessionTimeout?: number;
  answerTimeout?: number;
  busyTimeout?: number;
}

/** What the `lockmgr_` parameters of a URL say. */
export type UrlSettings = BackendSettings & EngineNumbers;

/** The settings as parameters of a URL. */
export const SETTING_PARAMETERS: readonly string[] = NAMES.map((name) => `lockmgr_${name}`);

/**
 * Checks the settings and fills in the defaults.
 *
 * @throws {TypeError} For an invalid mode, table or `migrate`.
 */
export function resolveSettings(settings: BackendSettings): Required<BackendSettings> {
  const { mode = "lease", table = DEFAULT_TABLE, migrate = true } = settings;
  const resolved = { mode, table, migrate };
  for (const name of NAMES) {
    const value: unknown = resolved[name];
    const type = name === "migrate" ? "boolean" : "string";
    if (type === typeof value && SETTINGS[name].matches.test(String(value))) continue;
    throw new TypeError(`Cannot use ${name} ${JSON.stringify(value)}: want ${SETTINGS[name].wanted}`);
  }
  return resolved;
}

/**
 * Returns an option of an engine that is a number, of seconds unless `unit` is another, or its default.
 *
 * @throws {TypeError | RangeError} For a value that is no number between the limits.
 */
export function numberBetween(
  what: string,
  value: unknown,
  fallback: number,
  least: number,
  most: number,
  unit = " seconds",
): number {
  if (value === undefined) return fallback;
  if (typeof value === "number" && value >= least && value <= most) return value;
  const Wrong = typeof value === "number" ? RangeError : TypeError;
  const range = most === Infinity ? `${least} or more` : `${least} to ${most}`;
  throw new Wrong(`Cannot use ${what} ${String(value)}: want ${range}${unit}`);
}

/**
 * Takes lockmgr's own parameters out of those of a URL and returns them as settings; the rest is the engine's. Errors
 * show no value: it may be a secret in the wrong place.
 *
 * @param numbers Which options with numbers the engine has.
 * @throws {TypeError} For an unknown parameter that begins with `lockmgr`, or an invalid value.
 */
export function takeSettings(
  parameters: Map<string, string>,
  numbers: readonly (keyof EngineNumbers)[],
): UrlSettings {
  const settings: Record<string, string | boolean | number> = {};
  const names = [...NAMES, ...numbers];
  for (const [key, value] of parameters) {
    if (!/^lockmgr/i.test(key)) continue;
    const name = names.find((name) => key === `lockmgr_${name}`);
    if (name === undefined) {
      const wanted = nearestOf(key, names.map((name) => `lockmgr_${name}`));
      throw new TypeError(`Cannot use URL parameter ${JSON.stringify(key)}: want ${wanted}`);
    }
    const isNumber = !(name in SETTINGS);
    const { matches, wanted } = isNumber ? NUMBER : SETTINGS[name as keyof typeof SETTINGS];
    if (!matches.test(value)) throw new TypeError(`Cannot use URL parameter "${key}": want ${wanted}`);
    settings[name] = isNumber ? Number(value) : name === "migrate" ? value === "true" : value;
    parameters.delete(key);
  }
  return settings as UrlSettings;
}

/** Returns the table with a schema, unless it has one. */
export function inSchema(table: string, schema: string | undefined): string {
  return schema === undefined || table.includes(".") ? table : `${schema}.${table}`;
}
