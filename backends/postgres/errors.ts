/**
 * What a PostgreSQL error means, by its SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) or
 * the word that a driver puts in its place.
 *
 * @module
 */
import { BackendError, LockError, UnsupportedError } from "../../core/errors.ts";

/** The code of a server's or driver's error; an empty text when it has none. */
export function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : "";
}

/**
 * Codes after which the connection is useless; the statement may or may not have taken effect. Where its prepared
 * statements have changed (26000, 42P05), a proxy has gone on with another connection, and the session's locks are gone.
 */
const BROKEN = /^(08...|25006|26000|42P05|57P0[1-5]|CONNECTION_\w+|CONNECT_TIMEOUT|E(?!RR_)[A-Z_]+)$/;
/** Codes of errors that may pass when the statement is repeated: conflicts, time limits, too many connections. */
const PASSING = /^(40001|40P01|55P03|57014|53...|25P0[34])$/;

/**
 * Throws when an answer says that its server takes no writes (column `readonly`). The answer then says nothing about
 * the lock: another server may be the primary by now, and a new connection to the address may lead there.
 */
export function requirePrimary<Rows extends readonly { readonly [column: string]: unknown }[]>(rows: Rows): Rows {
  if (rows[0]?.readonly !== "on") return rows;
  throw Object.assign(new Error("transactions are read-only there"), { code: "25006" });
}

/** Whether the connection leads to a server that takes no writes. */
export function isNotPrimary(error: unknown): boolean {
  return codeOf(error) === "25006";
}

/** Makes the error of an answer that came from another server than the session was opened to. */
export function otherServer(): Error {
  return Object.assign(new Error("another server answers on the connection"), { code: "08006" });
}

/** Whether the connection broke, or leads to a server that takes no writes. */
export function isBroken(error: unknown): boolean {
  return BROKEN.test(codeOf(error));
}

/** Whether the server has ended the connection: it starts no statement that was sent on it. */
export function isEndedByServer(error: unknown): boolean {
  return codeOf(error).startsWith("57P0");
}

/**
 * Whether transactions conflicted: under `serializable`, in a deadlock, or in an all-or-nothing attempt, which divides by
 * zero to roll back when it acquired only some of the names.
 */
export function isConflict(error: unknown): boolean {
  return ["40001", "40P01", "22012"].includes(codeOf(error));
}

/** Whether another transaction had the row locked for longer than the statement's lock timeout; also once translated. */
export function isRowLocked(error: unknown): boolean {
  return codeOf(error instanceof BackendError ? error.cause : error) === "55P03";
}

/** Whether the server, the database or the role allows no further connection. */
export function isFull(error: unknown): boolean {
  return codeOf(error) === "53300";
}

/** Whether a table or sequence does not exist, or was dropped. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "42P01";
}

/** The error of a statement that would be part of the caller's transaction. */
export class OpenTransaction extends Error {
  constructor() {
    super(
      "a transaction is open on the connection that is used, and its rollback would undo the change; " +
        "want a function over a pool, or a connection without an open transaction",
    );
  }
}

/** Reasons that replace those of the driver. */
const REASONS: Record<string, string> = {
  ECONNREFUSED: "no server answers at its address",
  ENOTFOUND: "its host name is unknown",
  CONNECT_TIMEOUT: "it did not answer in time",
  CONNECTION_CLOSED: "the connection was closed",
  CONNECTION_ENDED: "the connection was closed",
  CONNECTION_DESTROYED: "the connection was closed",
  "25006": "the server is read-only, as a replica is or by default_transaction_read_only; want the primary",
  "42501": "the role may not do that",
};

/** Returns the error of this library for one of the driver, which is kept as the cause. */
export function translate(what: string, error: unknown): Error {
  if (error instanceof LockError || error instanceof TypeError) return error;
  if (error instanceof OpenTransaction) return new UnsupportedError(`Cannot ${what}: ${error.message}`);
  const code = codeOf(error);
  const words = String((error as Error)?.message || code || error);
  const reason = REASONS[code] === undefined ? words : `${REASONS[code]} (${words})`;
  return new BackendError(`Cannot ${what}: ${reason}`, {
    cause: error,
    retryable: BROKEN.test(code) || PASSING.test(code),
  });
}
