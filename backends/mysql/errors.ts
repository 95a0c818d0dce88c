/**
 * The meaning of errors of the server and the driver.
 *
 * @module
 */
import { BackendError, LockError } from "../../core/errors.ts";

/** The properties of mysql2's errors. */
interface DriverError {
  readonly message?: string;
  readonly sqlMessage?: string;
  readonly errno?: number;
  readonly code?: string;
}

/** Error numbers of the servers (https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html) with their reasons, and whether they are transient. */
const REASONS: Record<number, { reason?: string; transient?: boolean }> = {
  1020: { transient: true }, // record has changed since last read (MariaDB)
  1040: { reason: "the server has no connection left (max_connections)", transient: true },
  1036: { reason: "the server is read-only", transient: true },
  1047: { reason: "the server is not ready: it has no connection to the primary component", transient: true },
  1053: { reason: "the server is shutting down", transient: true },
  1152: { reason: "the connection was ended", transient: true },
  1180: { reason: "the cluster refused the commit", transient: true },
  1203: { reason: "the server has no connection left for this user", transient: true },
  1205: { reason: "another transaction keeps the row or its table locked", transient: true },
  1213: { reason: "the statement was chosen to end a deadlock", transient: true },
  1226: { reason: "the user's limit of connections is reached", transient: true },
  1290: { reason: "the server is read-only", transient: true },
  1317: { reason: "the statement was killed", transient: true },
  1059: { reason: "the name is too long for this server" },
  1104: { reason: "the query would read more rows than max_join_size and sql_big_selects allow" },
  1665: { reason: "binlog_format is STATEMENT, which takes no writes at READ COMMITTED or READ UNCOMMITTED" },
  1792: { reason: "the transaction is read-only (transaction_read_only)", transient: true },
  1836: { reason: "the server is read-only", transient: true },
  1874: { reason: "the server is read-only (innodb_read_only)", transient: true },
  1927: { reason: "the connection was killed", transient: true },
  1969: { reason: "the statement took longer than max_statement_time allows", transient: true },
  3024: { reason: "the statement took longer than max_execution_time allows", transient: true },
  3058: { reason: "waiting for this lock would be a deadlock", transient: true },
  3032: { reason: "the server is in offline mode", transient: true },
  3100: { reason: "the server's replication refused the commit: it may not be a primary", transient: true },
  3101: { reason: "the server's replication rolled the transaction back", transient: true },
  3057: { reason: "the server does not take this name for a lock" },
  4163: { reason: "the name is too long for this server" },
  4031: { reason: "the server ended the idle connection", transient: true },
  2003: { reason: "the proxy cannot reach the server", transient: true }, // MySQL Router
  2006: { reason: "the proxy lost its connection to the server", transient: true },
  2013: { reason: "the proxy lost its connection to the server", transient: true }, // ProxySQL
  9001: { reason: "the proxy cannot reach the server", transient: true }, // ProxySQL
};

/** Codes of the driver and the operating system for a connection that was lost or refused. */
const CONNECTION_CODES =
  /^(PROTOCOL_|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|HANDSHAKE_|ERR_STREAM|ERR_SOCKET)/;

/** The server's error number; 0 for other errors. */
function numberOf(error: unknown): number {
  return (error as DriverError)?.errno ?? 0;
}

/** Error numbers of servers that accept no writes: replicas, and members that leave or join a cluster. */
const NOT_PRIMARY = [1036, 1047, 1290, 1792, 1836, 1874, 3032, 3100];
/** How proxies and clusters say the same under other numbers. */
const NOT_PRIMARY_WORDS = /read[-_ ]only|not yet prepared|primary component/i;
/** Numbers with further meanings, distinguished by the message. */
const AMBIGUOUS = [1105, 1290];

/**
 * Whether the connection leads to a server that accepts no writes now. A new connection to the same address may lead to
 * the primary.
 */
export function isNotPrimary(error: unknown): boolean {
  const { sqlMessage, message } = (error ?? {}) as DriverError;
  if (AMBIGUOUS.includes(numberOf(error))) return NOT_PRIMARY_WORDS.test(sqlMessage ?? message ?? "");
  return NOT_PRIMARY.includes(numberOf(error));
}

/** Makes the error of a read-only server. */
export function notPrimary(): Error {
  const message = "the server is read-only";
  return Object.assign(new Error(message), { errno: 1836, code: "ER_READ_ONLY_MODE", sqlMessage: message });
}

/** Makes the error of an answer that came from another server than the connection was opened to. */
export function otherServer(): Error {
  return Object.assign(new Error("another server answers on the connection"), { code: "PROTOCOL_CONNECTION_LOST" });
}

/** Numbers of clients' errors, which a proxy sends when it has lost the server. */
const PROXY_LOST_SERVER = [2003, 2006, 2013];

/** Whether the error came from the server: then the statement has ended. */
export function isFromServer(error: unknown): boolean {
  return numberOf(error) >= 1_000 && !PROXY_LOST_SERVER.includes(numberOf(error));
}

/** Where ORMs keep the error of the driver. */
const WRAPPED = ["cause", "original", "parent", "driverError", "meta", "driverAdapterError"];

/** Returns the driver's error in one that an ORM may have wrapped; `undefined` when there is none. */
export function driverErrorIn(error: unknown): (Error & DriverError) | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { errno, kind, code, message } = error as { errno?: unknown; kind?: unknown; code?: unknown; message?: string };
  if (typeof errno === "number") return error as Error & DriverError;
  if (kind === "mysql" && typeof code === "number") return Object.assign(new Error(message), { errno: code }); // Prisma
  for (const name of WRAPPED) {
    const found = driverErrorIn((error as Record<string, unknown>)[name]);
    if (found) return found;
  }
  return undefined;
}

/** Whether a statement was refused because a transaction is open. */
export function isInTransaction(error: unknown): boolean {
  return numberOf(driverErrorIn(error)) === 1568;
}

/** Whether a statement ended because a name that it wanted was held. */
export function isOneHeld(error: unknown): boolean {
  return error instanceof BackendError && numberOf(error.cause) === 1242;
}

/** Whether an error says that a transaction keeps the row locked; 3572 is that of a statement that does not wait. */
export function isRowLocked(error: unknown): boolean {
  return error instanceof BackendError && (isLockWaitTimeout(error.cause) || numberOf(error.cause) === 3572);
}

/** Whether to send a statement again at once: not for a locked row, which would block the connection. */
export function isPassingConflict(error: unknown): boolean {
  return isConflict(error) && !isLockWaitTimeout(error);
}

/** Whether the statement was rolled back because of another transaction: it may be repeated. */
export function isConflict(error: unknown): boolean {
  return [1020, 1205, 1213].includes(numberOf(error));
}

/** Whether the wait for a row lock timed out. */
export function isLockWaitTimeout(error: unknown): boolean {
  return numberOf(error) === 1205;
}

/** Whether the table is not there. */
export function isMissingTable(error: unknown): boolean {
  return numberOf(error) === 1146;
}

/** Whether a table of the server itself does not exist. */
export function isMissingView(error: unknown): boolean {
  return [1109, 1146].includes(numberOf(error));
}

/** Whether the connection can no longer be used after this error. */
export function endsConnection(error: unknown): boolean {
  const { code = "", message = "" } = (error ?? {}) as DriverError;
  return CONNECTION_CODES.test(code) || [1053, 1152, 1927, 4031, ...PROXY_LOST_SERVER].includes(numberOf(error)) ||
    isNotPrimary(error) || /closed state|connection is (closed|lost)/i.test(message);
}

/** Whether a pool lends no connection because all are in use, by `waitForConnections: false` or `queueLimit`. */
export function isPoolBusy(error: unknown): boolean {
  return /^(No connections available|Queue limit reached)/.test(String((error as DriverError)?.message));
}

/** Whether the statement was interrupted while the connection lives on. */
export function isInterruption(error: unknown): boolean {
  return [1317, 1969, 3024].includes(numberOf(error));
}

/** Whether TLS was required and the server does not support it. */
export function isWithoutTls(error: unknown): boolean {
  return (error as DriverError)?.code === "HANDSHAKE_NO_SSL_SUPPORT";
}

/** Whether the user lacks a right. */
export function isDenied(error: unknown): boolean {
  return [1044, 1045, 1142, 1143, 1227, 1370].includes(numberOf(error));
}

/** Converts an error of the driver or the server. */
export function translate(what: string, error: unknown): Error {
  if (error instanceof LockError || error instanceof TypeError || error instanceof RangeError) return error;
  const known = AMBIGUOUS.includes(numberOf(error)) && !isNotPrimary(error) ? undefined : REASONS[numberOf(error)];
  const { sqlMessage, message, code } = (error ?? {}) as DriverError;
  const reason = isWithoutTls(error)
    ? "the server does not support TLS, which ssl-mode or ssl requires; want a server with TLS, or ssl-mode=PREFERRED"
    : known?.reason ?? (sqlMessage || message || code || String(error));
  const retryable = known?.transient ?? (endsConnection(error) && !isWithoutTls(error));
  return new BackendError(`Cannot ${what}: ${reason}`, { cause: error, retryable });
}
