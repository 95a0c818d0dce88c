/**
 * Refuses values that are no connection targets. Errors say what to pass, and show nothing of the target: it may have a
 * password in it.
 *
 * @module
 */
import { isWindows } from "../util/runtime.ts";
import { hasMethods, isBunSql } from "./refused_client.ts";

const WANTED = "want a URL (postgres://…, mysql://…, sqlite:PATH) or the path of an SQLite file";

/** Makes the error for a target. */
export function refused(reason: string, wanted: string = WANTED): TypeError {
  return new TypeError(`Cannot connect to this target: ${reason}; ${wanted}`);
}

/** Decodes a part of a URL, and refuses a percent sign that escapes nothing with a `TypeError`. */
export function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw refused("it has a percent sign that escapes no character", "want %25 for a percent sign");
  }
}

/** The drivers' handles, and the function to pass each to. */
const HANDLES: readonly (readonly [is: (value: unknown) => boolean, what: string, wanted: string])[] = [
  [has("acquire", "release", "renew", "clean"), "it is a backend already", "want it as the option backend"],
  [has("then"), "it is a promise", "want what it resolves to, as by await"],
  [
    has("exec", "prepare"),
    "it is a database handle of SQLite",
    'want sqliteBackend(handle) of "@lockmgr/lockmgr/sqlite"',
  ],
  [
    (value) => has("getConnection")(value) || has("execute", "query")(value),
    "it is a pool or connection of MySQL",
    'want mysqlBackend(pool) of "@lockmgr/lockmgr/mysql"',
  ],
  [isBunSql, 'it is Bun\'s "SQL"', "want its URL"],
  [
    has("unsafe", "begin"),
    'it is a "sql" instance of postgres.js',
    'want postgresBackend(sql) of "@lockmgr/lockmgr/postgres"',
  ],
  [
    has("query"),
    "it is a pool or client of a database",
    'want postgresBackend of "@lockmgr/lockmgr/postgres", mysqlBackend of "@lockmgr/lockmgr/mysql" or sqliteBackend of ' +
    '"@lockmgr/lockmgr/sqlite"',
  ],
  [
    (value) => typeof value === "function",
    "it is a function",
    'want postgresBackend(function) of "@lockmgr/lockmgr/postgres"',
  ],
];

function has(...methods: string[]): (value: unknown) => boolean {
  return (value) => hasMethods(value, methods);
}

/** Returns the error for a target that is not a string. */
export function refuseValue(value: unknown): TypeError {
  if (value === null || value === undefined) return refused(`it is ${value}`);
  if (typeof value !== "object" && typeof value !== "function") return refused(`it is a ${typeof value}`);
  if (Array.isArray(value)) return refused("it is an array");
  const handle = HANDLES.find(([is]) => is(value));
  if (handle) return refused(handle[1], handle[2]);
  return refused("it is an object", `${WANTED}; options go into the second argument`);
}

/** Words of a connection string. */
const PASSWORD_WORD = /(?:password|passwd|passwort|pass|pwd|secret|token)["']?\s*[=:]/i;

/** The text of a value that is not a string. */
const STRINGIFIED = /^(?:\[object .*\]|null|undefined|nan|true|false|\d+)$/i;

/** Returns a text without escapes and full-width characters, which could hide a URL. */
function plain(text: string): string {
  const decoded = text.replace(/%([0-7][0-9a-f])/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return decoded.normalize("NFKC");
}

/** Texts that may have a password in them although they are no URL of a known scheme. */
const DISGUISES: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/:[/\\]{2}/, "it has a URL in it"],
  [PASSWORD_WORD, "it has a password in it"],
  [/:.*@/, "it looks like USER:PASSWORD@HOST"],
  [/^[/\\]{2}.*@/, "it looks like //USER@HOST"],
  [/^file:/i, "it is a URL in a URL"],
];

/** Refuses a text with a control character in it. */
export function refuseControls(text: string): void {
  // deno-lint-ignore no-control-regex -- control characters are what is refused
  if (/[\u0000-\u001f\u007f]|\p{Surrogate}/u.test(text)) throw refused("it has a control character in it");
}

/** Refuses a path that looks like a connection string, or has a control character in it, with a `TypeError`. */
export function refuseDisguise(path: string): void {
  refuseControls(path);
  const suspect = isWindows() ? plain(path).replace(/^[a-z]:(?=[/\\])/i, "") : plain(path); // a drive is not a user
  const disguise = DISGUISES.find(([pattern]) => pattern.test(suspect))?.[1];
  if (disguise) throw refused(disguise);
}

/** Further texts without a scheme that are no paths. */
const NO_PATHS: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [STRINGIFIED, "it is not a path but a value that was turned into a text"],
  [/^["'`<{[(]|["'`>]$/, "it is in quotation marks or brackets"],
  [/(?:^|[\s;&?(])[a-z_][\w ]*=/i, "it is not a path but a list of keywords, or a path with parameters"],
  [/^[a-z]:(?![/\\])/i, "it begins with a drive and no path of it"],
  [/^[a-z][\w+.-]+:/i, "it begins with a scheme that is not known"],
  [/^-|\s--?[a-z]/i, "it is not a path but flags of a command"],
  [/^(?!\.{0,2}[/\\])(?![a-z]:[/\\]).*[^/\\]@/i, "it looks like USER@HOST"],
];

/**
 * Refuses a text without a known scheme that is not the path of a database.
 *
 * @throws {TypeError} For a URL, a connection string or the text of another value.
 */
export function refusePath(text: string, known: readonly string[]): void {
  if (text === ":memory:") return;
  const scheme = /^[a-z][a-z0-9+.-]+:(?=\/\/)/i.exec(text)?.[0].toLowerCase();
  if (scheme !== undefined) {
    throw new TypeError(
      `Cannot connect by ${JSON.stringify(scheme)}: want one of ${known.join(" ")}, or the path of an SQLite file; ` +
        "registerEngine adds others",
    );
  }
  refuseDisguise(text);
  const reason = NO_PATHS.find(([pattern]) => pattern.test(plain(text)))?.[1];
  if (reason) throw refused(reason, `${WANTED}, as sqlite:PATH or ./PATH if it is one`);
}
