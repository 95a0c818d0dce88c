/**
 * The SQL for the queue of one name. Its first holder is in the columns of the row, the other holders and the waiters are
 * in `line` as JSON, which is NULL for an exclusive lock without waiters. A waiter has no `token`.
 *
 * @module
 */
import type { AcquireRequest, OwnedLock } from "../../../core/backend.ts";
import { waitedFor } from "../../../core/util/requests.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import { type Entry, GRACE_US, LATER_US, type Line } from "../../shared/line.ts";
import { READ_ONLY } from "../connection/server.ts";
import { bytes, EVERY_ROW, integer, list, text } from "../connection/inline_parameters.ts";
import { AcquireStatements, type NoWait } from "../rows/acquire_statements.ts";
import { isDead } from "../rows/liveness.ts";
import { belongsTo, CLOCK, COLUMNS, FREE, UNRELEASED } from "../rows/rows.ts";
import type { StoredLine } from "./stored_line.ts";

/** Stores that a name has neither further holders nor waiters. */
const NO_LINE = "slots = NULL, first_token = NULL, line_owner = NULL, line = NULL";

/** The changes that store a line in its row. */
function stored({ token, entries: [first, ...rest] }: Line): string {
  if (first === undefined) return `${FREE}, token = ${integer(token)}, ${NO_LINE}`;
  const { owner, limit, until, since, updated, lockedBy, lockProcess, metadata, liveness, session } = first;
  const isPlain = rest.length === 0 && limit === 1 && first.token === token;
  const line = isPlain ? NO_LINE : `slots = ${limit === 1 ? "NULL" : integer(limit)},
        first_token = ${integer(first.token!)}, line_owner = ${bytes(owner)}, line = ${text(JSON.stringify(rest))}`;
  return `owner = ${bytes(owner)}, token = ${integer(token)}, locked_by = ${text(lockedBy)},
        lock_process = ${integer(lockProcess)}, locked_until = ${integer(until)}, created_at = ${integer(since!)},
        updated_at = ${integer(updated!)}, metadata = ${text(metadata)},
        session = ${liveness ? bytes(liveness) : "NULL"}, connection_id = ${session ?? "NULL"},
        listed = GREATEST(listed, 1), ${line}`;
}

/** The statements for the queues of one table. */
export class QueueStatements extends AcquireStatements {
  /** Selects the whole row of a name, and whether its session has ended; none where the server is read-only. */
  selectLine(name: string): string {
    return `SELECT ${COLUMNS}, ${this.isHybrid ? isDead("session") : "FALSE"} FROM ${this.byName}
      WHERE name = ${bytes(name)} AND NOT ${READ_ONLY} ${EVERY_ROW}`;
  }

  /** Makes a free row for a name that has none. */
  insertFree(name: string): string {
    return `
      INSERT INTO ${this.table} (name, owner, token, locked_by, locked_until, created_at, updated_at, listed)
      SELECT ${bytes(name)}, ${bytes("")}, 0, ${text("")}, 0, ${CLOCK}, ${CLOCK}, 0 FROM DUAL
      WHERE ${this.mayGrant(undefined)}
      ON DUPLICATE KEY UPDATE name = ${bytes(name)}`;
  }

  /** Stores what becomes of a line, unless the row has changed since it was read. */
  storeLine(name: string, read: StoredLine, line: Line, noWait?: NoWait, liveness?: LivenessLock): string {
    const { owner, token, lockedUntil, text: before } = read;
    const condition = `name = ${bytes(name)} AND ${this.mayGrant(liveness)} AND owner = ${bytes(owner)}
        AND token = ${token} AND locked_until <=> ${lockedUntil ?? "NULL"} AND line <=> ${text(before)}`;
    return this.update(this.byName, stored(line), condition, noWait);
  }

  /**
   * Adds a waiter, before those that came later, to a line whose first holder is live and exclusive, so that nothing else
   * can change.
   */
  enter(request: AcquireRequest, entry: Entry, noWait?: NoWait): string {
    const { name, window } = request;
    const came = `${CLOCK} - ${integer(waitedFor(request))}`;
    const times = `'$.until', ${CLOCK} + ${integer(window!)}, '$.came', ${came}`;
    const added = `JSON_SET(JSON_EXTRACT(${text(JSON.stringify(entry))}, '$'), ${times})`;
    const later = `COALESCE(entry.came > ${came} + ${LATER_US} AND entry.came <= ${CLOCK}, FALSE)`;
    const entries = "JSON_TABLE(line, '$[*]' COLUMNS (place FOR ORDINALITY, came BIGINT PATH '$.came'))";
    const before = `(SELECT COALESCE(MAX(place), 0) FROM ${entries} AS entry WHERE NOT ${later})`;
    const changes = `first_token = COALESCE(first_token, token), line_owner = owner,
        line = JSON_ARRAY_INSERT(COALESCE(line, '[]'), CONCAT('$[', ${before}, ']'), ${added})`;
    const isWaiting = `IFNULL(line LIKE ${text(`%"${entry.owner}"%`)}, FALSE)`;
    const condition = `${this.#isExclusive(name)} AND owner <> ${bytes(entry.owner)} AND NOT (${isWaiting})`;
    if (noWait !== "skip") return this.update(this.byName, changes, condition, noWait);
    // MySQL refuses JSON_TABLE beside a join in an UPDATE where the connection has no default database
    return `UPDATE ${this.byName} SET ${changes} WHERE name = (SELECT unlocked_name FROM (
      SELECT name AS unlocked_name FROM ${this.byName} WHERE ${condition} FOR UPDATE SKIP LOCKED) AS unlocked)`;
  }

  /** Extends the window of a waiter in such a line. */
  stay({ name, owner, window }: AcquireRequest, noWait?: NoWait): string {
    const found = `JSON_UNQUOTE(JSON_SEARCH(line, 'one', ${text(owner)}, NULL, '$[*].owner'))`;
    const changes = `line = JSON_SET(line, REPLACE(${found}, 'owner', 'until'), ${CLOCK} + ${integer(window!)})`;
    return this.update(this.byName, changes, `${this.#isExclusive(name)} AND ${found} IS NOT NULL`, noWait);
  }

  /** Whether the first holder of a name is live and exclusive, and the others in its line wait. */
  #isExclusive(name: string): string {
    return `name = ${bytes(name)} AND ${UNRELEASED} AND ${this.isLive(CLOCK)} AND slots IS NULL
        AND ${this.mayGrant(undefined)}`;
  }

  /**
   * Gives an exclusive lock to the waiter at the head of its queue, if that wants an exclusive one as well. None where
   * the assignments have no order: in the form that skips locked rows.
   */
  handOff(claim: OwnedLock, noWait?: NoWait): string | undefined {
    if (noWait === "skip") return undefined;
    const head = (field: string) => `JSON_VALUE(line, '$[0].${field}')`;
    const number = (field: string) => `CAST(${head(field)} AS SIGNED)`;
    const isLast = "JSON_LENGTH(line) = 1";
    const metadata = "JSON_EXTRACT(line, '$[0].metadata')";
    const changes = `
        token = GREATEST(token + 1, ${CLOCK}), created_at = ${CLOCK}, updated_at = created_at,
        locked_until = created_at + LEAST(COALESCE(${number("duration")}, ${GRACE_US}), ${GRACE_US}),
        owner = ${head("owner")}, locked_by = ${head("lockedBy")}, lock_process = ${number("lockProcess")},
        metadata = IF(JSON_TYPE(${metadata}) = 'STRING', JSON_UNQUOTE(${metadata}), NULL),
        session = ${head("liveness")}, connection_id = ${number("session")}, listed = GREATEST(listed, 1),
        first_token = IF(${isLast}, NULL, token), line_owner = IF(${isLast}, NULL, owner),
        line = IF(${isLast}, NULL, JSON_REMOVE(line, '$[0]'))`;
    const isReady = `JSON_LENGTH(line) > 0 AND ${head("token")} IS NULL AND ${number("limit")} = 1
        AND ${number("until")} > ${CLOCK} ${this.isHybrid ? `AND NOT ${isDead(head("liveness"))}` : ""}`;
    const condition = `${belongsTo(claim)} AND ${this.isLive(CLOCK)} AND slots IS NULL AND line IS NOT NULL
        AND ${isReady} AND ${this.mayGrant(undefined)}`;
    return this.update(this.byName, changes, condition, noWait);
  }

  /** Selects which of some liveness locks prove that their holders are gone. */
  selectDead(keys: readonly string[]): string {
    return `SELECT ${keys.map((key) => isDead(bytes(key))).join(", ")} ${EVERY_ROW}`;
  }

  /** Selects the names that have a line, or which of some. */
  selectQueues(names?: readonly string[]): string {
    const rows = names ? `${this.byName} WHERE name IN (${list(names)})` : `${this.byListed} WHERE listed IN (1, 2)`;
    return `SELECT name FROM ${rows} AND line IS NOT NULL ORDER BY name ${EVERY_ROW}`;
  }

  /**
   * Selects of those of the names that are not free: the name, the highest token, the owner in the columns, whether that
   * is live, the other entries if the token is not as it was last seen, the clock, and the first holder's token and time.
   * None where the server is read-only.
   */
  selectTurns(seen: readonly { readonly name: string; readonly token: string }[]): string {
    const isSeen = `(name, token) IN (${seen.map(({ name, token }) => `(${bytes(name)}, ${token})`).join(", ")})`;
    const isLive = this.isLive(CLOCK);
    const names = list(seen.map(({ name }) => name));
    return `SELECT name, token, owner, ${isLive}, IF(${isSeen} AND ${isLive}, NULL, CAST(line AS BINARY)), ${CLOCK},
        COALESCE(first_token, token), created_at FROM ${this.table}
      WHERE name IN (${names}) AND (line IS NOT NULL OR ${isLive}) AND NOT ${READ_ONLY} ${EVERY_ROW}`;
  }

  /** Extends what another client's release granted, if it is the first holder. The outcome is the clock. */
  confirm({ name, owner, duration }: AcquireRequest, noWait?: NoWait, liveness?: LivenessLock): string {
    const until = duration === null ? "NULL" : `GREATEST(locked_until, ${CLOCK} + ${integer(duration)})`;
    const changes = `locked_until = ${until}, updated_at = LAST_INSERT_ID(${CLOCK})`;
    const session = liveness ? bytes(liveness.key) : "NULL";
    const condition = `${belongsTo({ name, owner })} AND ${this.isLive(CLOCK)} AND session <=> ${session}
        AND ${this.mayGrant(liveness)}`;
    return this.update(this.byName, changes, condition, noWait);
  }
}
