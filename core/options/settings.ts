/**
 * What all engines are set up with, and how a URL says it.
 *
 * @module
 */
import type { Mode } from "../backend.ts";

/**
 * How a backend keeps its locks, whatever the engine.
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
  /** Creates the table on first use; `false` never runs DDL, which `schemaOf` then gives to run by hand. @default true */
  migrate?: boolean;
}

/** The settings after their checks. */
export type ResolvedSettings = Required<BackendSettings>;

/** The table that holds the locks unless the caller names another. */
const DEFAULT_TABLE = "lockmgr_locks";

/** A name, or a schema and a name: what every engine takes, within PostgreSQL's 63 bytes. */
const TABLE = /^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$/;

const MODES: readonly string[] = ["lease", "session", "hybrid"] satisfies Mode[];

/** What a URL may say about lockmgr, by its parameters' names. */
const PARAMETERS = ["lockmgr_mode", "lockmgr_table", "lockmgr_migrate"];

/**
 * Checks the settings and fills in the defaults.
 *
 * @throws {TypeError} For a mode, table or `migrate` that cannot be.
 */
export function resolveSettings(settings: BackendSettings): ResolvedSettings {
  const { mode = "lease", table = DEFAULT_TABLE, migrate = true } = settings;
  if (!MODES.includes(mode)) {
    throw new TypeError(`Cannot use mode ${JSON.stringify(mode)}: want "lease", "session" or "hybrid"`);
  }
  if (typeof table !== "string" || !TABLE.test(table)) {
    throw new TypeError(
      `Cannot use table ${JSON.stringify(table)}: want letters, digits and "_", at most 63, with or without a schema`,
    );
  }
  if (typeof migrate !== "boolean") {
    throw new TypeError(`Cannot use migrate ${JSON.stringify(migrate)}: want true or false`);
  }
  return { mode, table, migrate };
}

/**
 * Refuses an unknown option: a misspelt one would silently do nothing.
 *
 * @throws {TypeError} For the first unknown option, with the nearest known name.
 */
export function refuseUnknown(engine: string, options: object, known: readonly string[]): void {
  const all = ["mode", "table", "migrate", ...known];
  const unknown = Object.keys(options).find((key) => !all.includes(key));
  if (unknown === undefined) return;
  const nearest = all.toSorted((one, other) => distance(unknown, one) - distance(unknown, other))[0];
  throw new TypeError(
    `Cannot use option ${JSON.stringify(unknown)} on ${engine}: want ${JSON.stringify(nearest)}, or another of ${
      all.join(", ")
    }`,
  );
}

/** How far a misspelt name is from a known one: letters too many or too few, 0.1 for each letter of a part left out. */
function distance(given: string, known: string): number {
  const [one, other] = [given.toLowerCase(), known.toLowerCase()];
  if (other.includes(one)) return (other.length - one.length) / 10;
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 0; i < one.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      next.push(Math.min(row[j + 1] + 1, next[j] + 1, row[j] + (one[i] === other[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[other.length];
}

/** What the values of those parameters may be. Errors show no value: a URL's may be a secret in the wrong place. */
const VALUES: Readonly<Record<string, { readonly matches: RegExp; readonly wanted: string }>> = {
  lockmgr_mode: { matches: new RegExp(`^(?:${MODES.join("|")})$`), wanted: '"lease", "session" or "hybrid"' },
  lockmgr_table: {
    matches: TABLE,
    wanted: 'letters, digits and "_", at most 63, with or without a schema',
  },
  lockmgr_migrate: { matches: /^(?:true|false)$/, wanted: "true or false" },
};

/**
 * Takes lockmgr's own parameters out of a URL's and returns them as settings; the rest is the engine's.
 *
 * @throws {TypeError} For an unknown parameter that begins with `lockmgr`, or a value that cannot be.
 */
export function takeSettings(parameters: Map<string, string>): BackendSettings {
  for (const [key, value] of parameters) {
    if (!/^lockmgr/i.test(key)) continue;
    const known = Object.hasOwn(VALUES, key) ? VALUES[key] : undefined;
    if (known === undefined) {
      throw new TypeError(`Cannot use URL parameter ${JSON.stringify(key)}: want one of ${PARAMETERS.join(", ")}`);
    }
    if (!known.matches.test(value)) throw new TypeError(`Cannot use URL parameter "${key}": want ${known.wanted}`);
  }
  const [mode, table, migrate] = PARAMETERS.map((key) => {
    const value = parameters.get(key);
    parameters.delete(key);
    return value;
  });
  return {
    ...(mode === undefined ? {} : { mode: mode as Mode }),
    ...(table === undefined ? {} : { table }),
    ...(migrate === undefined ? {} : { migrate: migrate === "true" }),
  };
}

/** The table with a schema in front, unless it has one. */
export function inSchema(table: string, schema: string | undefined): string {
  return schema === undefined || table.includes(".") ? table : `${schema}.${table}`;
}
