/**
 * The SQL of this engine, one text for MySQL and MariaDB. Times are whole microseconds since 1970 by the server's
 * clock in UTC. A statement says what came of it through `LAST_INSERT_ID(value)`, which both servers send back with
 * the answer: the count of affected rows depends on the client's flags, and MySQL has no RETURNING.
 *
 * @module
 */
import type { AcquireRequest, Claim, RenewRequest, Target } from "../../core/backend.ts";
import { COLUMNS } from "./rows.ts";
import type { Server } from "./server.ts";
import { bytes, integer, quoted, text } from "./sql.ts";

/** The server's clock at the start of the statement, whatever the session's time zone: early, which errs on the safe side. */
export const CLOCK = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/** The answer of what acquires and of a renewal: done, but the row has to be read to know its times. */
export const READ_THE_ROW = 1n;
/** The answer of {@linkcode Statements.retake}: the row is another's, and live. */
export const HELD = 2n;

/** What vouches for a lock in `hybrid`: the GET_LOCK that the holder's connection keeps. */
export interface Voucher {
  /** The server-side name of the lock. */
  readonly name: string;
  /** The connection that keeps it. */
  readonly connectionId: number;
}

/** The statements for one table. */
export interface Statements {
  /**
   * Takes what is free, in the order given, which has to be sorted. For one request the answer is its token, 0 when
   * the name is held, or {@linkcode READ_THE_ROW}. `guarded` spares losers the row lock; it must not be used where
   * subqueries take locks (REPEATABLE READ), or two takers may get in each other's way. A request that is repeated after
   * a lost answer finds its own row.
   */
  acquire(requests: readonly AcquireRequest[], guarded: boolean, voucher?: Voucher): string;
  /**
   * Takes one whose row is there: no words for a new row, so that it costs the server a quarter less than
   * {@linkcode Statements.acquire}. The answer is its token, {@linkcode HELD}, {@linkcode READ_THE_ROW}, or 0 when
   * there is no row.
   */
  retake(request: AcquireRequest, voucher?: Voucher): string;
  /**
   * Takes several that are free. When all have been used before, by this clock, as many rows have changed, and the
   * answer is the token of all; else the rows have to be read. Half the work of {@linkcode Statements.acquire} for each.
   */
  acquireFree(requests: readonly AcquireRequest[], guarded: boolean, kind: Server["kind"], voucher?: Voucher): string;
  /** Extends a live lock; the answer is the server's clock, 0 when it was gone, or {@linkcode READ_THE_ROW}. */
  renew(request: RenewRequest): string;
  /** Extends live locks by the same. */
  renewAll(requests: readonly RenewRequest[]): string;
  /** Frees a live lock, keeping its row. */
  release(target: Target): string;
  /** Frees several, each of one acquisition. */
  releaseAll(claims: readonly Claim[]): string;
  /** Rows by names: live ones only. `lock` keeps them from changing in this transaction. */
  peek(names: readonly string[], lock?: boolean): string;
  /** Rows by prefix, live ones or also the lapsed. */
  list(prefix: string, includeExpired: boolean): string;
  /** Names whose rows can be cleared away. */
  lapsed(scope: "expired" | "all"): string;
  /** Clears those of the names away that still can be. */
  clear(names: readonly string[], scope: "expired" | "all"): string;
  /** Names that have been free for a day: far longer than a statement can wait, so that no token repeats. */
  stale(): string;
  /** Deletes those of the names that have been free for a day. */
  sweep(names: readonly string[]): string;
  /** Which of the names are held, and by which owners. */
  held(names: readonly string[]): string;
  /** Keeps a live lock's row from changing until the transaction ends; matches it or nothing. */
  guard(claim: Claim): string;
}

/** A list of names in SQL. */
function list(names: readonly string[]): string {
  return names.map(bytes).join(", ");
}

/** One row of wishes. */
function wish(request: AcquireRequest): string {
  const { name, owner, duration, lockedBy, lockProcess, metadata } = request;
  return `SELECT ${bytes(name)} AS new_name, ${bytes(owner)} AS new_owner, ${integer(duration)} AS new_duration,
    ${text(lockedBy)} AS new_by, ${integer(lockProcess)} AS new_process, ${text(metadata)} AS new_metadata,
    ${CLOCK} AS new_now`;
}

/** The same in short, for many. */
function tuple({ name, owner, duration, lockedBy, lockProcess, metadata }: AcquireRequest): string {
  return `(${bytes(name)}, ${bytes(owner)}, ${integer(duration)}, ${text(lockedBy)}, ${integer(lockProcess)}, ${
    text(metadata)
  })`;
}

/** The voucher's name in SQL. */
function nameOf(voucher: Voucher | undefined): string {
  return voucher ? bytes(voucher.name) : "NULL";
}

/** Whether the session that is to vouch for the row is still there: its end may not have reached us yet. */
function vouchedFor(voucher: Voucher | undefined): string {
  return voucher ? `IS_USED_LOCK(${bytes(voucher.name)}) = ${voucher.connectionId}` : "TRUE";
}

/**
 * Whether the row has just changed hands, in the assignments that follow the one of `owner`: they run from left to
 * right. A row that was this very request's already (it was repeated after a lost answer) has its session and time.
 */
function fresh(voucher: Voucher | undefined): string {
  return `owner = new_owner AND (locked_until <= new_now OR NOT session <=> ${nameOf(voucher)})`;
}

/** Writes the statements for a table; `vouched` makes a lock live only as long as its holder's session. */
export function statementsFor(table: string, vouched: boolean): Statements {
  const target = quoted(table);
  const dead = (row: string) => `(${row}session IS NOT NULL AND IS_USED_LOCK(${row}session) IS NULL)`;
  const live = (now: string, row = "") =>
    `(${row}locked_until > ${now} OR ${row}locked_until IS NULL)${vouched ? ` AND NOT ${dead(row)}` : ""}`;
  const free = (now: string) => `locked_until <= ${now}${vouched ? ` OR ${dead("")}` : ""}`;
  const clearable = (scope: "expired" | "all") => `owner IS NOT NULL${scope === "all" ? "" : ` AND (${free(CLOCK)})`}`;
  const whose = ({ name, owner }: Target) =>
    `name = ${bytes(name)} AND owner ${owner === null ? "IS NOT NULL" : `= ${bytes(owner)}`}`;
  const until = ({ from, add }: RenewRequest) =>
    add === null ? "NULL" : `${from === "now" ? CLOCK : from === "expiry" ? "locked_until" : integer(from)} + ${add}`;
  const select = (condition: string) =>
    `SELECT ${COLUMNS} FROM ${target}, (SELECT ${CLOCK} AS now) AS clock WHERE owner IS NOT NULL AND ${condition}`;

  const spared = `AND NOT EXISTS (SELECT 1 FROM ${target} AS held WHERE held.name = new_name
        AND held.owner <> new_owner AND ${live("new_now", "held.")})`;

  return {
    acquire: (requests, guarded, voucher) => `
      INSERT INTO ${target} (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at, metadata,
        session, connection_id)
      SELECT new_name, new_owner, new_now, new_by, new_process, new_now + new_duration, new_now,
        new_now + 0 * LAST_INSERT_ID(new_now), new_metadata,
        ${nameOf(voucher)}, ${integer(voucher?.connectionId ?? null)}
      FROM (${requests.map(wish).join(" UNION ALL ")}) AS wish
      WHERE ${vouchedFor(voucher)} ${guarded ? spared : ""}
      ON DUPLICATE KEY UPDATE
        owner = IF(${free("new_now")}, new_owner, owner),
        token = IF(${fresh(voucher)}, GREATEST(token + 1, new_now), token),
        locked_by = IF(${fresh(voucher)}, new_by, locked_by),
        lock_process = IF(${fresh(voucher)}, new_process, lock_process),
        created_at = IF(${fresh(voucher)}, new_now, created_at),
        metadata = IF(${fresh(voucher)}, new_metadata, metadata),
        updated_at = IF(${fresh(voucher)}, new_now + 0 * LAST_INSERT_ID(IF(token = new_now, token, ${READ_THE_ROW})),
          updated_at + 0 * LAST_INSERT_ID(IF(owner = new_owner, ${READ_THE_ROW}, 0))),
        locked_until = IF(${fresh(voucher)}, new_now + new_duration, locked_until),
        connection_id = IF(owner = new_owner, ${integer(voucher?.connectionId ?? null)}, connection_id),
        session = IF(owner = new_owner, ${nameOf(voucher)}, session)`,

    retake({ name, owner, duration, lockedBy, lockProcess, metadata }, voucher) {
      const now = CLOCK;
      return `
      UPDATE ${target} SET owner = ${bytes(owner)}, token = GREATEST(token + 1, ${now}), locked_by = ${text(lockedBy)},
        lock_process = ${integer(lockProcess)}, locked_until = ${now} + ${integer(duration)}, updated_at = ${now},
        created_at = ${now} + 0 * LAST_INSERT_ID(IF(token = ${now}, token, ${READ_THE_ROW})),
        metadata = ${text(metadata)}, session = ${nameOf(voucher)}, connection_id = ${
        integer(voucher?.connectionId ?? null)
      }
      WHERE name = ${bytes(name)} AND ${vouchedFor(voucher)}
        AND (${free(now)} OR LAST_INSERT_ID(IF(owner = ${bytes(owner)}, ${READ_THE_ROW}, ${HELD})) = 0)`;
    },

    acquireFree(requests, guarded, kind, voucher) {
      const row = kind === "mysql" ? "ROW" : "";
      const taken = "owner = new_owner AND token = new_now"; // in the assignments after that of the token
      const connection = integer(voucher?.connectionId ?? null);
      return `
      INSERT INTO ${target} (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at, metadata,
        session, connection_id)
      WITH wish (new_name, new_owner, new_duration, new_by, new_process, new_metadata) AS (
        VALUES ${requests.map((request) => row + tuple(request)).join(", ")})
      SELECT new_name, new_owner, new_now, new_by, new_process, new_now + new_duration, new_now, new_now, new_metadata,
        ${nameOf(voucher)}, ${connection}
      FROM wish, (SELECT LAST_INSERT_ID(${CLOCK}) AS new_now) AS clock
      WHERE ${vouchedFor(voucher)} ${guarded ? spared : ""}
      ON DUPLICATE KEY UPDATE
        owner = IF((${free("new_now")}) AND token < new_now, new_owner, owner),
        token = IF(owner = new_owner AND (${free("new_now")}) AND token < new_now, new_now, token),
        locked_by = IF(${taken}, new_by, locked_by),
        lock_process = IF(${taken}, new_process, lock_process),
        created_at = IF(${taken}, new_now, created_at),
        updated_at = IF(${taken}, new_now, updated_at),
        metadata = IF(${taken}, new_metadata, metadata),
        locked_until = IF(${taken}, new_now + new_duration, locked_until),
        connection_id = IF(${taken}, ${connection}, connection_id),
        session = IF(${taken}, ${nameOf(voucher)}, session)`;
    },

    renew(request) {
      const wanted = until(request);
      const told = request.from === "expiry" ? "FALSE" : `locked_until <=> ${wanted}`;
      return `
      UPDATE ${target} SET
        locked_until = ${request.add === null ? "NULL" : `GREATEST(locked_until, ${wanted})`},
        updated_at = ${CLOCK} + 0 * LAST_INSERT_ID(IF(${told}, ${CLOCK}, ${READ_THE_ROW}))
      WHERE ${whose(request)} AND ${live(CLOCK)}`;
    },

    renewAll: (requests) => `
      UPDATE ${target} SET
        locked_until = ${requests[0].add === null ? "NULL" : `GREATEST(locked_until, ${until(requests[0])})`},
        updated_at = ${CLOCK}
      WHERE name IN (${list(requests.map(({ name }) => name))})
        AND (${requests.map((request) => `(${whose(request)})`).join(" OR ")}) AND ${live(CLOCK)}`,

    release: (request) => `
      UPDATE ${target} SET owner = NULL, locked_until = 0, updated_at = ${CLOCK}
      WHERE ${whose(request)} AND ${live(CLOCK)}`,

    releaseAll: (claims) => `
      UPDATE ${target} SET owner = NULL, locked_until = 0, updated_at = ${CLOCK}
      WHERE name IN (${list(claims.map(({ name }) => name))}) AND owner IN (${list(claims.map(({ owner }) => owner))})
        AND ${live(CLOCK)}`,

    peek: (names, lock = false) =>
      `${select(`name IN (${list(names)}) AND ${live("now")}`)} ORDER BY name${lock ? " FOR UPDATE" : ""}`,

    list: (prefix, includeExpired) => {
      const begin = bytes(prefix);
      const like = prefix === "" ? "TRUE" : `name >= ${begin} AND LEFT(name, LENGTH(${begin})) = ${begin}`;
      return `${select(`${like} AND ${includeExpired ? "TRUE" : live("now")}`)} ORDER BY name`;
    },

    lapsed: (scope) => `SELECT name FROM ${target} WHERE ${clearable(scope)} ORDER BY name`,

    clear: (names, scope) => `
      UPDATE ${target} SET owner = NULL, locked_until = 0, updated_at = ${CLOCK}
      WHERE name IN (${list(names)}) AND ${clearable(scope)}`,

    stale: () =>
      `SELECT name FROM ${target} WHERE owner IS NULL AND updated_at < ${CLOCK} - 86400 * 1000000 ORDER BY name`,

    sweep: (names) => `
      DELETE FROM ${target}
      WHERE name IN (${list(names)}) AND owner IS NULL AND updated_at < ${CLOCK} - 86400 * 1000000`,

    held: (names) => `SELECT name, owner FROM ${target} WHERE name IN (${list(names)}) AND ${live(CLOCK)}`,

    guard: (claim) => `UPDATE ${target} SET token = token WHERE ${whose(claim)} AND ${live(CLOCK)}`,
  };
}
