/**
 * Translates SQLite's errors. Drivers report them in different ways: by a number, by a name, or by the message alone.
 *
 * @module
 */
import { BackendError, LockError, UnsupportedError } from "../../core/errors.ts";
import { findObstacle } from "./connection/access.ts";

/** Primary result codes (https://sqlite.org/rescode.html): `access` marks those that a missing permission may cause. */
const KINDS = [
  { code: 5, name: "SQLITE_BUSY", sentence: "database is locked", reason: "another process keeps it locked" },
  { code: 6, name: "SQLITE_LOCKED", sentence: "table is locked", reason: "another statement keeps the table locked" },
  { code: 8, name: "SQLITE_READONLY", sentence: "readonly database", reason: "it is read-only", access: true },
  { code: 10, name: "SQLITE_IOERR", sentence: "disk i/o error", reason: "the disk failed" },
  { code: 11, name: "SQLITE_CORRUPT", sentence: "malformed", reason: "the file is corrupt" },
  { code: 13, name: "SQLITE_FULL", sentence: "disk is full", reason: "the disk is full" },
  { code: 14, name: "SQLITE_CANTOPEN", sentence: "unable to open", reason: "the file cannot be opened", access: true },
  {
    code: 23,
    name: "SQLITE_AUTH",
    sentence: "not authorized",
    reason: "the authorizer of this handle does not allow it",
  },
  {
    code: 26,
    name: "SQLITE_NOTADB",
    sentence: "not a database",
    reason: "the file is not an SQLite database, or it is encrypted",
  },
] as const;

/** Messages of drivers about a closed handle. */
const CLOSED =
  /database (connection )?is not open|has closed|closed database|is closed|database is not open|finalized/i;

type Kind = typeof KINDS[number];

/** Properties of drivers' errors. */
interface DriverError {
  readonly message?: string;
  readonly errcode?: number;
  readonly errno?: number;
  readonly code?: unknown;
}

function kindOf(error: unknown): Kind | undefined {
  const { message = "", errcode, errno, code } = (error ?? {}) as DriverError;
  const primary = (errcode ?? errno ?? 0) & 0xff;
  const text = message.toLowerCase();
  return KINDS.find((kind) =>
    kind.code === primary || (typeof code === "string" && code.startsWith(kind.name)) || text.includes(kind.sentence)
  );
}

/** Whether another connection had the file locked. */
export function isBusy(error: unknown): boolean {
  const code = kindOf(error)?.code;
  return code === 5 || code === 6;
}

/** Whether the table does not exist. */
export function isMissingTable(error: unknown): boolean {
  return String((error as DriverError)?.message).includes("no such table");
}

/** Whether a statement was refused because the caller's own transaction is open. */
function isInsideTransaction(error: unknown): boolean {
  return /within a transaction|inside a transaction/.test(String((error as DriverError)?.message));
}

/** Translates an error of the driver; `path` is the database's file, if known. */
export function translate(what: string, error: unknown, path?: string): Error {
  if (error instanceof LockError || (error instanceof TypeError && !CLOSED.test(error.message))) return error;
  if (isInsideTransaction(error)) return insideTransaction(what);
  return new BackendError(`Cannot ${what}: ${reasonOf(error, path)}`, { cause: error, retryable: isBusy(error) });
}

/** The reason as a clause. */
function reasonOf(error: unknown, path: string | undefined): string {
  const kind = kindOf(error);
  if (kind === undefined) {
    const message = String((error as DriverError)?.message ?? error);
    return CLOSED.test(message) ? `the program has closed the database handle (${message})` : message;
  }
  const obstacle = path !== undefined && "access" in kind ? findObstacle(path) : undefined;
  return obstacle ?? kind.reason;
}

/** The error for a lock inside the caller's transaction, where a rollback would silently undo it. */
export function insideTransaction(what: string): UnsupportedError {
  return new UnsupportedError(
    `Cannot ${what}: a transaction of the caller is open on this handle; use another handle or a path`,
  );
}

/** The error for a file that could not be opened, with the likeliest reason. */
export function openingError(path: string, error: unknown): BackendError {
  const reason = findObstacle(path) ?? reasonOf(error, undefined);
  return new BackendError(`Cannot open database ${JSON.stringify(path)}: ${reason}`, { cause: error });
}
