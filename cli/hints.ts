/**
 * Hints for errors of the database, by the codes of its driver.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BackendError } from "../mod.ts";

/** Hints by the codes of drivers and servers (SQLSTATE, MySQL error names, errno). */
const BY_CODE: readonly (readonly [codes: RegExp, advice: string])[] = [
  [
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|CONNECT_TIMEOUT)$/,
    "Are host and port right, and is the server up?",
  ],
  [/^(28P01|28000|ER_ACCESS_DENIED_ERROR|ER_ACCESS_DENIED_NO_PASSWORD_ERROR)$/, "Are user and password right?"],
  [/^(3D000|ER_BAD_DB_ERROR)$/, "Is the name of the database right? Has it been created?"],
  [
    /^(42501|ER_DBACCESS_DENIED_ERROR|ER_TABLEACCESS_DENIED_ERROR)$/,
    "An administrator must grant this user that privilege.",
  ],
];

/** Where Bun keeps what it installs with `-g`. */
const GLOBAL_OF_BUN = /[\\/]install[\\/]global$/;
/** What is done about a table that is not as it must be and may not be changed. */
const BY_STATE = {
  absent: '"lockmgr schema" prints the statements that create it; without lockmgr_migrate=false it is created.',
  old: '"lockmgr schema" prints what upgrades it; without lockmgr_migrate=false it is upgraded.',
};
const FILE = "Is the path right, and may this user read and write the file and its directory?";
const OTHERWISE = "Is the URL right, and the database up?";
const FURTHER = `"lockmgr doctor" looks for the reason.`;

/** The command that installs a driver where this package finds it. */
function installingCommand(driver: string): string {
  const here = fileURLToPath(import.meta.url);
  const folder = here.slice(0, Math.max(0, here.search(/[\\/]node_modules[\\/]/)));
  if (GLOBAL_OF_BUN.test(folder)) return `bun add -g ${driver}`;
  // A project has a package.json beside its node_modules; the folder that `npm install -g` uses has none.
  return `npm install ${existsSync(join(folder, "package.json")) ? "" : "-g "}${driver}`;
}

/** The hint for a driver that is not installed. */
function missingDriver(error: BackendError): string {
  const driver = /"(postgres|mysql2)"/.exec(error.message)?.[1] ?? "postgres";
  return `Install the driver where lockmgr is installed: "${installingCommand(driver)}".`;
}

/** Where the server answered, and there is no table or an old one that may not be changed: which of both. */
export function stateOfTable({ message }: BackendError): keyof typeof BY_STATE | undefined {
  if (!message.includes(' and "migrate" is off')) return undefined;
  return message.includes("is of an earlier version") ? "old" : "absent";
}

/** The codes of an error and its causes. */
function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let each = error; each instanceof Error; each = each.cause) {
    const { code } = each as { code?: unknown };
    if (typeof code === "string") codes.push(code);
    if (each instanceof AggregateError) codes.push(...each.errors.flatMap(codesOf)); // one for each address tried
  }
  return codes;
}

/** The likely cause; `undefined` where the message itself says what to do. */
export function likelyCause(error: BackendError): string | undefined {
  const state = stateOfTable(error);
  if (state) return BY_STATE[state];
  const codes = codesOf(error);
  if (codes.includes("ERR_MODULE_NOT_FOUND")) return missingDriver(error);
  const known = BY_CODE.find(([pattern]) => codes.some((code) => pattern.test(code)));
  if (known !== undefined) return known[1];
  if (/; (want|use|open|every user of) /.test(error.message)) return undefined;
  if (error.message.startsWith("Cannot open database ")) return FILE;
  return codes.some((code) => /^(ERR_)?SQLITE_/.test(code)) ? FILE : OTHERWISE;
}

/** The hint for an error. */
export function hintFor(error: BackendError): string | undefined {
  const cause = likelyCause(error);
  return cause?.endsWith("?") ? `${cause} ${FURTHER}` : cause;
}
