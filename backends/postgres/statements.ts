/**
 * The SQL of leases and hybrid locks. Every parameter and every answer is text, because drivers differ in how they
 * write arrays and JSON and in how they read integers. Several names travel as one JSON array.
 *
 * The server's clock is `clock_timestamp()`, read after the row lock was had: `now()` and `excluded.*` are from before
 * the wait (1.0 s stale after a wait of 1 s).
 *
 * @module
 */
import { notifyIfAwaited } from "./keys.ts";
import { namespaceOf, quoted } from "./schema.ts";

/** How long a statement waits for a row that another transaction keeps: where others wait for it, and what must be done. */
const ATTEMPT_PATIENCE = "200ms";
const PATIENCE = "5s";

/** What an attempt asks for, in the order of its parameters and under these names in JSON. */
export const ACQUIRE_FIELDS = ["name", "owner", "duration", "holder", "process", "metadata"] as const;
/** What a renewal asks for. */
export const RENEW_FIELDS = ["name", "owner", "start", "more"] as const;
/** What a release asks for. */
export const RELEASE_FIELDS = ["name", "owner"] as const;

/** SQL for microseconds since 1970 as text. */
function microseconds(time: string): string {
  return `(extract(epoch FROM ${time}) * 1000000)::bigint`;
}

/**
 * SQL for a row that is held: not released, not lapsed, and not left by a session that is gone. The advisory lock that
 * vouches for a row can be had exactly when its holder's connection has ended; the transaction gives it back.
 */
function live(row: string): string {
  return `(${row}.owner IS NOT NULL AND (${row}.locked_until IS NULL OR ${row}.locked_until > clock_timestamp())
    AND CASE WHEN ${row}.liveness IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared(${row}.liveness) END)`;
}

/** The clock, read once for each row: a function in FROM costs ten times as much, and an open subquery reads it often. */
const CLOCK = "(SELECT clock_timestamp() AS now OFFSET 0) AS clock";

/** What is answered of a row. */
function columns(row: string, now: string): string {
  return `${row}.name, ${row}.token::text AS token, ${row}.locked_by AS holder, ${row}.lock_process::text AS process,
    ${microseconds(`${row}.locked_until`)}::text AS until, ${microseconds(`${row}.created_at`)}::text AS created,
    ${microseconds(`${row}.updated_at`)}::text AS updated, ${row}.metadata::text AS metadata,
    ${row}.session_pid::text AS session, ${microseconds(now)}::text AS now`;
}

/** What is answered of a row just taken: the rest is known to whom it was granted, and reading a clock costs. */
const TAKEN = `taken.name, taken.token::text AS token, NULL AS holder, NULL AS process, NULL AS until,
    ${
  microseconds("taken.created_at")
}::text AS created, NULL AS updated, NULL AS metadata, NULL AS session, NULL AS now`;

/** The wishes of one request, or of several in JSON; settings for this transaction alone are made on the way. */
function wish(fields: readonly string[], several: boolean, ...settings: string[]): string {
  const source = several
    ? `json_to_recordset($1::text::json) AS wish (${fields.map((field) => `${field} text`).join(", ")})`
    : `(SELECT ${fields.map((field, index) => `$${index + 1}::text AS ${field}`).join(", ")}) AS wish`;
  const made = settings.map((setting, index) => `${setting} AS setting${index}`).join(", ");
  return `settings AS MATERIALIZED (SELECT ${made}),
    wish AS MATERIALIZED (SELECT ${
    fields.map((field) => `wish.${field}`).join(", ")
  }, settings.* FROM settings, ${source})`;
}

/** Limits the wait for a row lock in this transaction. */
function patience(limit: string): string {
  return `set_config('lock_timeout', '${limit}', true)`;
}

/** A commit that must not be lost reaches the disk, also where an operator has turned that off. */
const DURABLE = `set_config('synchronous_commit',
      CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`;

/** Locks the rows of several wishes in one order for everybody, so that no two statements can deadlock. */
function inOrder(target: string): string {
  return `wish_in_order AS MATERIALIZED (
    SELECT wish.* FROM ${target} AS l JOIN wish ON l.name = wish.name ORDER BY l.name FOR UPDATE OF l)`;
}

/** Takes free names; what is not free is answered as it is. Two more parameters: the liveness key and session's pid. */
function acquire(target: string, several: boolean, allOrNothing: boolean): string {
  const last = several ? 1 : ACQUIRE_FIELDS.length;
  const vouched = `$${last + 1}::text::bigint`;
  const held = (wish: string) => `SELECT FROM ${target} AS held WHERE held.name = ${wish}.name AND ${live("held")}`;
  const others = `SELECT FROM wish AS other WHERE EXISTS (${held("other")} AND held.owner <> other.owner)`;
  // looking the wish up again for each row would cost the square of their number
  const duration = microseconds("(excluded.locked_until - excluded.created_at)");
  // a name that was lost to another after the look makes an error, which rolls everything back
  const complete = `(SELECT count(*) FROM taken) IN (0, (SELECT count(*) FROM wish WHERE NOT EXISTS (${
    held("wish")
  })))`;
  return `
    WITH ${wish(ACQUIRE_FIELDS, several, patience(ATTEMPT_PATIENCE), DURABLE)},
    taken AS (
      INSERT INTO ${target} AS l (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at,
        metadata, liveness, session_pid)
      SELECT wish.name, wish.owner, ${microseconds("now")}, wish.holder, wish.process::bigint,
        now + wish.duration::bigint * interval '1 microsecond', now, now, wish.metadata::json,
        ${vouched}, $${last + 2}::text::integer
      FROM wish, clock_timestamp() AS now
      WHERE NOT EXISTS (${held("wish")}) ${allOrNothing ? `AND NOT EXISTS (${others})` : ""}
        AND CASE WHEN ${vouched} IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared(${vouched}) END
      ORDER BY wish.name COLLATE "C"
      ON CONFLICT (name) DO UPDATE SET
        (owner, token, locked_by, lock_process, locked_until, created_at, updated_at, metadata, liveness, session_pid) = (
          SELECT excluded.owner, greatest(l.token + 1, ${microseconds("now")}), excluded.locked_by,
            excluded.lock_process, now + ${duration} * interval '1 microsecond', now, now,
            excluded.metadata, excluded.liveness, excluded.session_pid
          FROM ${CLOCK})
      WHERE NOT ${live("l")}
      RETURNING l.name, l.token, l.created_at)
    SELECT 'true' AS mine, ${TAKEN} FROM taken
      ${allOrNothing ? `WHERE 1 / (CASE WHEN ${complete} THEN 1 ELSE 0 END) = 1` : ""}
    UNION ALL
    SELECT (held.owner = wish.owner)::text, ${columns("held", "clock_timestamp()")}
    FROM wish JOIN ${target} AS held ON held.name = wish.name
    WHERE ${live("held")} AND NOT EXISTS (SELECT FROM taken WHERE taken.name = held.name)`;
}

/** Extends live locks, never shortening them. */
function renew(target: string, several: boolean): string {
  const start = `CASE wish.start WHEN 'now' THEN now WHEN 'expiry' THEN l.locked_until
            ELSE timestamptz 'epoch' + wish.start::bigint * interval '1 microsecond' END`;
  return `
    WITH ${wish(RENEW_FIELDS, several, patience(several ? ATTEMPT_PATIENCE : PATIENCE), DURABLE)}
    ${several ? `, ${inOrder(target)}` : ""}
    UPDATE ${target} AS l SET (locked_until, updated_at) = (
      SELECT CASE WHEN l.locked_until IS NULL OR wish.more IS NULL THEN NULL
          ELSE greatest(l.locked_until, ${start} + wish.more::bigint * interval '1 microsecond') END, now
      FROM ${CLOCK})
    FROM ${several ? "wish_in_order AS wish" : "wish"}
    WHERE l.name = wish.name AND l.owner = coalesce(wish.owner, l.owner) AND ${live("l")}
    RETURNING ${columns("l", "l.updated_at")}`;
}

/**
 * Frees live locks, keeping their rows, and tells those who wait. The commit need not reach the disk at once: a release
 * that a crash undoes is only a lock that lapses.
 */
function release(target: string, several: boolean, namespace: string): string {
  return `
    WITH ${wish(RELEASE_FIELDS, several, patience(several ? ATTEMPT_PATIENCE : PATIENCE))}
    ${several ? `, ${inOrder(target)}` : ""}, freed AS (
      UPDATE ${target} AS l SET ${FREE}
      FROM ${several ? "wish_in_order AS wish" : "wish"}
      WHERE l.name = wish.name AND l.owner = coalesce(wish.owner, l.owner) AND ${live("l")}
      RETURNING l.name)
    SELECT name, set_config('synchronous_commit', 'off', true) AS lazy, ${notifyIfAwaited(namespace, "name")} AS told
    FROM freed`;
}

/** A row that is free from now on. */
const FREE = `owner = NULL, locked_until = clock_timestamp(), updated_at = clock_timestamp(),
        metadata = NULL, liveness = NULL, session_pid = NULL`;

/** Frees lapsed locks, or all, and deletes rows that have been free for a day: no statement waits that long. */
function clean(target: string, all: boolean, namespace: string): string {
  const condition = all ? "" : `AND NOT ${live("l")}`;
  return `
    WITH chosen AS MATERIALIZED (
      SELECT l.name FROM ${target} AS l WHERE l.owner IS NOT NULL ${condition}
      ORDER BY l.name FOR UPDATE OF l ${all ? "" : "SKIP LOCKED"}),
    cleaned AS (
      UPDATE ${target} AS l SET ${FREE} FROM chosen
      WHERE l.name = chosen.name AND l.owner IS NOT NULL ${condition} RETURNING l.name),
    stale AS MATERIALIZED (
      SELECT l.name FROM ${target} AS l
      WHERE l.owner IS NULL AND l.updated_at < clock_timestamp() - interval '1 day'
      FOR UPDATE OF l SKIP LOCKED),
    swept AS (DELETE FROM ${target} AS l USING stale WHERE l.name = stale.name)
    SELECT count(*)::text AS cleaned, count(${
    all ? notifyIfAwaited(namespace, "name") : "NULL"
  })::text AS told FROM cleaned`;
}

/** The statements for one table. */
export interface Statements {
  /** Takes one name. */
  readonly acquire: string;
  /** Takes several names, each by itself. */
  readonly acquireEach: string;
  /** Takes several names or none. */
  readonly acquireAll: string;
  /** The live row of a name, and whether it is this acquisition's. `(name, owner)` */
  readonly peek: string;
  /** Extends one lock. */
  readonly renew: string;
  /** Extends several. */
  readonly renewEach: string;
  /** Frees one lock. */
  readonly release: string;
  /** Frees several. */
  readonly releaseEach: string;
  /** Keeps a live lock's row from changing hands until the caller's transaction ends. `(name, owner)` */
  readonly guard: string;
  /** Live rows by names. `(JSON array)` */
  readonly listNames: string;
  /** Rows by prefix, live ones or also the lapsed. `(prefix, include expired)` */
  readonly list: string;
  /** Frees lapsed locks. */
  readonly cleanExpired: string;
  /** Frees all locks. */
  readonly cleanAll: string;
  /** Which of the names are free; whether those held are vouched for by sessions. `(JSON array)` */
  readonly free: string;
}

/** Writes the statements for a table. */
export function statementsFor(table: string): Statements {
  const target = quoted(table);
  const namespace = namespaceOf(table);
  const select = `SELECT ${columns("l", "clock_timestamp()")} FROM ${target} AS l`;
  return {
    acquire: acquire(target, false, false),
    acquireEach: acquire(target, true, false),
    acquireAll: acquire(target, true, true),
    peek: `
      SELECT (l.owner = $2::text)::text AS mine, ${columns("l", "clock_timestamp()")} FROM ${target} AS l
      WHERE l.name = $1::text AND ${live("l")}`,
    renew: renew(target, false),
    renewEach: renew(target, true),
    release: release(target, false, namespace),
    releaseEach: release(target, true, namespace),
    // what waited for the row lock is judged again: the clock went on meanwhile
    guard: `
      WITH kept AS MATERIALIZED (
        SELECT l.* FROM ${target} AS l WHERE l.name = $1::text AND l.owner = $2::text FOR SHARE)
      SELECT kept.name FROM kept WHERE ${live("kept")}`,
    listNames: `${select}
      WHERE l.name IN (SELECT json_array_elements_text($1::text::json)) AND ${live("l")} ORDER BY l.name`,
    list: `${select}
      WHERE l.owner IS NOT NULL AND l.name >= $1::text AND starts_with(l.name, $1::text)
        AND ($2::text = 'true' OR ${live("l")})
      ORDER BY l.name`,
    cleanExpired: clean(target, false, namespace),
    cleanAll: clean(target, true, namespace),
    free: `
      SELECT wish.name, (held.liveness IS NOT NULL)::text AS vouched, (held.name IS NULL)::text AS free
      FROM json_array_elements_text($1::text::json) AS wish (name)
      LEFT JOIN ${target} AS held ON held.name = wish.name AND ${live("held")}`,
  };
}
