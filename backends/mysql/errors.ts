/**
 * What an error of the server or the driver means.
 *
 * @module
 */
import { BackendError, LockError } from "../../core/errors.ts";

/** What mysql2 puts on its errors. */
interface DriverError {
  readonly message?: string;
  readonly sqlMessage?: string;
  readonly errno?: number;
  readonly code?: string;
}

/** Error numbers of the servers (https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html) with their reasons. */
const REASONS: Record<number, { reason?: string; passes?: boolean }> = {
  1020: { passes: true }, // record has changed since last read (MariaDB)
  1040: { reason: "the server has no connection left (max_connections)", passes: true },
  1036: { reason: "the server is read-only", passes: true },
  1047: { reason: "the server is not ready: it has no connection to the primary component", passes: true },
  1053: { reason: "the server is shutting down", passes: true },
  1152: { reason: "the connection was ended", passes: true },
  1203: { reason: "the server has no connection left for this user", passes: true },
  1205: { reason: "another transaction keeps the row locked", passes: true },
  1213: { reason: "the statement was chosen to end a deadlock", passes: true },
  1226: { reason: "the user's limit of connections is reached", passes: true },
  1290: { reason: "the server is read-only", passes: true },
  1317: { reason: "the statement was killed", passes: true },
  1059: { reason: "the name is too long for this server" },
  1104: { reason: "the query would read more rows than max_join_size and sql_big_selects allow" },
  1665: { reason: "binlog_format is STATEMENT, which takes no writes at READ COMMITTED or READ UNCOMMITTED" },
  1792: { reason: "the transaction is read-only (transaction_read_only)", passes: true },
  1836: { reason: "the server is read-only", passes: true },
  1874: { reason: "the server is read-only (innodb_read_only)", passes: true },
  1927: { reason: "the connection was killed", passes: true },
  1969: { reason: "the statement took longer than max_statement_time allows", passes: true },
  3024: { reason: "the statement took longer than max_execution_time allows", passes: true },
  3058: { reason: "waiting for this lock would be a deadlock", passes: true },
  3032: { reason: "the server is in offline mode", passes: true },
  3100: { reason: "the server's replication refused the commit: it may not be a primary", passes: true },
  3101: { reason: "the server's replication rolled the transaction back", passes: true },
  3057: { reason: "the server does not take this name for a lock" },
  4163: { reason: "the name is too long for this server" },
  4031: { reason: "the server ended the idle connection", passes: true },
};

/** Codes of the driver and the operating system for a connection that is gone or cannot be had. */
const CONNECTION_CODES =
  /^(PROTOCOL_|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|HANDSHAKE_|ERR_STREAM|ERR_SOCKET)/;

/** The server's error number; 0 when it is no error of the server's. */
function numberOf(error: unknown): number {
  return (error as DriverError)?.errno ?? 0;
}

/** Of servers that take no writes, or none yet, or no longer: a replica, one that leaves or joins its cluster. */
const NOT_PRIMARY = [1036, 1047, 1290, 1792, 1836, 1874, 3032, 3100];
/** Words by which proxies and clusters say so under numbers of their own. */
const NOT_PRIMARY_WORDS = /read[-_ ]only|not yet prepared|primary component/i;
/** Numbers with further meanings, told apart by their words: an option of the server, and any error. */
const AMBIGUOUS = [1105, 1290];

/**
 * Whether the connection leads to a server that takes no writes now. That says nothing about the statement: behind the
 * same address another server may be the primary by now, so that this connection is of no use and a new one may be.
 */
export function isNotPrimary(error: unknown): boolean {
  const { sqlMessage, message } = (error ?? {}) as DriverError;
  if (AMBIGUOUS.includes(numberOf(error))) return NOT_PRIMARY_WORDS.test(sqlMessage ?? message ?? "");
  return NOT_PRIMARY.includes(numberOf(error));
}

/** The error of a server that says of itself that it takes no writes. */
export function notPrimary(): Error {
  const message = "the server is read-only";
  return Object.assign(new Error(message), { errno: 1836, code: "ER_READ_ONLY_MODE", sqlMessage: message });
}

/** Whether the server answered with this error: then the statement has ended. */
export function isFromServer(error: unknown): boolean {
  return numberOf(error) >= 1_000;
}

/** Whether two transactions got in each other's way and the statement was rolled back: it may simply be repeated. */
export function isConflict(error: unknown): boolean {
  return [1020, 1205, 1213].includes(numberOf(error));
}

/** Whether the statement waited for a row lock in vain. */
export function isLockWaitTimeout(error: unknown): boolean {
  return numberOf(error) === 1205;
}

/** Whether the table is not there. */
export function isMissingTable(error: unknown): boolean {
  return numberOf(error) === 1146;
}

/** Whether a table of the server's own is not there. */
export function isMissingView(error: unknown): boolean {
  return [1109, 1146].includes(numberOf(error));
}

/** Whether the connection can no longer be used after this error. */
export function endsConnection(error: unknown): boolean {
  const { code = "", message = "" } = (error ?? {}) as DriverError;
  return CONNECTION_CODES.test(code) || [1053, 1152, 1927, 4031].includes(numberOf(error)) ||
    isNotPrimary(error) || /closed state|connection is (closed|lost)/i.test(message);
}

/** Whether the statement was interrupted while the connection lives on. */
export function isInterruption(error: unknown): boolean {
  return [1317, 1969, 3024].includes(numberOf(error));
}

/** Whether the server has no TLS, which was required. */
export function isWithoutTls(error: unknown): boolean {
  return (error as DriverError)?.code === "HANDSHAKE_NO_SSL_SUPPORT";
}

/** Whether the user lacks a right. */
export function isDenied(error: unknown): boolean {
  return [1044, 1045, 1142, 1143, 1227, 1370].includes(numberOf(error));
}

/** The error of this library for one of the driver's or the server's. */
export function translate(what: string, error: unknown): Error {
  if (error instanceof LockError || error instanceof TypeError || error instanceof RangeError) return error;
  const known = AMBIGUOUS.includes(numberOf(error)) && !isNotPrimary(error) ? undefined : REASONS[numberOf(error)];
  const { sqlMessage, message, code } = (error ?? {}) as DriverError;
  const reason = isWithoutTls(error)
    ? "the server does not support TLS, which ssl-mode or ssl requires; want a server with TLS, or ssl-mode=PREFERRED"
    : known?.reason ?? (sqlMessage || message || code || String(error));
  const retryable = known?.passes ?? (endsConnection(error) && !isWithoutTls(error));
  return new BackendError(`Cannot ${what}: ${reason}`, { cause: error, retryable });
}
