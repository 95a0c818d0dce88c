/**
 * The SQL of this engine, one text for MySQL and MariaDB. Times are whole microseconds since 1970 by the server's
 * clock in UTC. A statement says what came of it through `LAST_INSERT_ID(value)`, which both servers send back with
 * the answer: the count of affected rows depends on the client's flags, and MySQL has no RETURNING.
 *
 * @module
 */
import type { LockRef, OwnedLock, RenewRequest } from "../../../core/backend.ts";
import type { Unlocked } from "./row_locks.ts";
import { COLUMNS, UNRELEASED } from "./rows.ts";
import { READ_ONLY } from "../connection/server.ts";
import { bytes, EVERY_ROW, integer, list, quoted } from "../connection/sql.ts";
import { byName, byNames, CLOCK, READ_THE_ROW, type Taking, takingFor } from "./acquire_statements.ts";

/** The statements for one table. */
export interface Statements extends Taking {
  /** Extends a live lock; the answer is the server's clock, 0 when it was gone, or {@linkcode READ_THE_ROW}. */
  renew(request: RenewRequest, way?: Unlocked): string;
  /** Extends live locks by the same. */
  renewAll(requests: readonly RenewRequest[], way?: Unlocked): string;
  /** Frees a live lock, keeping its row. */
  release(target: LockRef, way?: Unlocked): string;
  /** Frees several, each of one acquisition. */
  releaseAll(claims: readonly OwnedLock[], way?: Unlocked): string;
  /**
   * Rows by names: live ones only, and none where the server takes no writes: what it knows may be out of date, and the
   * attempt that follows finds that out. `lock` keeps them from changing in this transaction.
   */
  peek(names: readonly string[], lock?: boolean): string;
  /** Rows by names: live ones only, as this server knows them. */
  listNames(names: readonly string[]): string;
  /** Rows by prefix, live ones or also the lapsed, in no order: to sort rows with their metadata takes the server longer. */
  list(prefix: string, includeExpired: boolean): string;
  /** Names whose rows can be cleared away. */
  lapsed(scope: "expired" | "all"): string;
  /** Clears those of the names away that still can be. */
  clear(names: readonly string[], scope: "expired" | "all"): string;
  /** Names that have been free for a day: far longer than a statement can wait, so that no token repeats. */
  stale(): string;
  /** Deletes those of the names that have been free for a day. */
  sweep(names: readonly string[]): string;
  /** Which of the names are held, and by which owners; none where the server takes no writes. */
  held(names: readonly string[]): string;
  /** Reads a live lock's row, and keeps it from changing until the transaction ends. */
  guard(claim: OwnedLock): string;
}

/**
 * A row that is free from now on. Its owner stays, of no more use: a row whose length does not change is updated where
 * it is, which saves a crowd a quarter of the server's time. The index of what is held keeps a name that is taken often.
 */
const FREE = `locked_until = 0, updated_at = ${CLOCK}, listed = IF(listed = 2, 2, 0)`;

/** A row that has been free for a day. */
const STALE = `locked_until = 0 AND updated_at < ${CLOCK} - 86400 * 1000000`;

/**
 * Writes the statements for a table; `vouched` makes a lock live only as long as its holder's session. `asks` has those
 * that take names ask whether the server is read-only: not where the binary log keeps statements, since a replica runs
 * them again, and is.
 */
export function statementsFor(table: string, vouched: boolean, asks = false): Statements {
  const target = quoted(table);
  const dead = (row: string) => `(${row}session IS NOT NULL AND IS_USED_LOCK(${row}session) IS NULL)`;
  const live = (now: string, row = "") =>
    `(${row}locked_until > ${now} OR ${row}locked_until IS NULL)${vouched ? ` AND NOT ${dead(row)}` : ""}`;
  const free = (now: string) => `locked_until <= ${now}${vouched ? ` OR ${dead("")}` : ""}`;
  const clearable = (scope: "expired" | "all") => `${UNRELEASED}${scope === "all" ? "" : ` AND (${free(CLOCK)})`}`;
  const whose = ({ name, owner }: LockRef) =>
    `name = ${bytes(name)} AND ${owner === null ? UNRELEASED : `owner = ${bytes(owner)}`}`;
  const until = ({ from, add }: RenewRequest) =>
    add === null ? "NULL" : `${from === "now" ? CLOCK : from === "expiry" ? "locked_until" : integer(from)} + ${add}`;
  const select = (rows: string, condition: string) =>
    `SELECT ${COLUMNS} FROM ${rows}, (SELECT ${CLOCK} AS now) AS clock WHERE ${UNRELEASED} AND ${condition}`;
  // Unless it is told to, MySQL does not use the index before it has counted the table anew.
  const listed = `${target} FORCE INDEX (listed)`;
  const named = byName(target);
  const among = byNames(target);

  /** Changes rows, or those that no transaction keeps locked. `rows` is how to look for them, and `most` how many. */
  const update = (rows: string, changes: string, condition: string, way?: Unlocked, most = 1) => {
    if (way !== "skip") {
      return `${way ? "SET STATEMENT innodb_lock_wait_timeout = 0 FOR" : ""}
      UPDATE ${rows} SET ${changes} WHERE ${condition}`;
    }
    return `
      UPDATE (SELECT name AS unlocked_name FROM ${rows} WHERE ${condition} LIMIT ${most} FOR UPDATE SKIP LOCKED) AS unlocked
        JOIN ${target} ON name = unlocked_name
      SET ${changes}`;
  };

  return {
    ...takingFor(target, free, live, asks),

    renew(request, way) {
      const wanted = until(request);
      const told = request.from === "expiry" ? "FALSE" : `locked_until <=> ${wanted}`;
      const changes = `
        locked_until = ${request.add === null ? "NULL" : `GREATEST(locked_until, ${wanted})`},
        updated_at = ${CLOCK} + 0 * LAST_INSERT_ID(IF(${told}, ${CLOCK}, ${READ_THE_ROW}))`;
      return update(named, changes, `${whose(request)} AND ${live(CLOCK)}`, way);
    },

    renewAll(requests, way) {
      const changes = `
        locked_until = ${requests[0].add === null ? "NULL" : `GREATEST(locked_until, ${until(requests[0])})`},
        updated_at = ${CLOCK}`;
      const condition = `name IN (${list(requests.map(({ name }) => name))})
        AND (${requests.map((request) => `(${whose(request)})`).join(" OR ")}) AND ${live(CLOCK)}`;
      return update(among, changes, condition, way, requests.length);
    },

    release: (request, way) => update(named, FREE, `${whose(request)} AND ${live(CLOCK)}`, way),

    releaseAll(claims, way) {
      const condition = `name IN (${list(claims.map(({ name }) => name))})
        AND owner IN (${list(claims.map(({ owner }) => owner))}) AND ${live(CLOCK)}`;
      return update(among, FREE, condition, way, claims.length);
    },

    peek: (names, lock = false) =>
      `${
        select(named, `name IN (${list(names)}) AND (${live("now")}) AND NOT ${READ_ONLY}`)
      } ORDER BY name ${EVERY_ROW}${lock ? " FOR UPDATE" : ""}`,

    listNames: (names) => `${select(named, `name IN (${list(names)}) AND ${live("now")}`)} ORDER BY name ${EVERY_ROW}`,

    list: (prefix, includeExpired) => {
      const begin = bytes(prefix);
      // no byte of UTF-8 is FF: so this is a range of the index, and all names that begin so
      const like = prefix === "" ? "TRUE" : `name >= ${begin} AND name < CONCAT(${begin}, X'FF')`;
      return select(listed, `listed IN (1, 2) AND ${like} AND ${includeExpired ? "TRUE" : live("now")} ${EVERY_ROW}`);
    },

    lapsed: (scope) =>
      `SELECT name FROM ${listed} WHERE listed IN (1, 2) AND ${clearable(scope)} ORDER BY name ${EVERY_ROW}`,

    clear: (names, scope) => `
      UPDATE ${among} SET ${FREE}
      WHERE name IN (${list(names)}) AND ${clearable(scope)}`,

    stale: () => `SELECT name FROM ${target} WHERE ${STALE} ORDER BY name ${EVERY_ROW}`,

    sweep: (names) => `
      DELETE FROM ${target}
      WHERE name IN (${list(names)}) AND ${STALE}`,

    held: (names) =>
      `SELECT name, owner FROM ${target} WHERE name IN (${list(names)}) AND ${
        live(CLOCK)
      } AND NOT ${READ_ONLY} ${EVERY_ROW}`,

    guard: (claim) => `SELECT token FROM ${named} WHERE ${whose(claim)} AND ${live(CLOCK)} ${EVERY_ROW} FOR UPDATE`,
  };
}
