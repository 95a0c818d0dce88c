/**
 * The SQL of names that have a queue, or holders that admit others. Every statement is the same step: it locks the row,
 * drops the entries that have expired, adds, removes or extends some, and gives a token to each that has come to hold
 * the lock.
 *
 * @module
 */
import { literal } from "../keys.ts";
import {
  ACQUIRE_LOCK_TIMEOUT,
  commit,
  DURABLE,
  LAZY,
  lockTimeout,
  microseconds,
  READ_ONLY,
  RETRIED_LOCK_TIMEOUT,
  settings,
  SOON_MINUTES,
} from "../rows/fragments.ts";
import { isAlive, live } from "../rows/liveness.ts";
import { columns } from "../rows/rows.ts";
import {
  cameAt,
  entriesOf,
  grantTime,
  IN_LINE,
  isLater,
  isLiveEntry,
  isWhole,
  RANKED,
  served,
  timeOf,
  written,
} from "./fragments.ts";

/** Whose entry a request is about: an owner, `#` and a token, or NULL for any holder. */
const IS_MEANT = `coalesce(coalesce($2::text, CASE WHEN v->>'token' IS NOT NULL THEN v->>'owner' END)
      IN (v->>'owner', '#' || (v->>'token')), false)`;

/** Whether a row may have an entry of the owner in `$2`: others are not even locked. */
const MAY_BE_MEANT = `(coalesce($2::text, '') = '' OR starts_with($2::text, '#') OR l.owner = $2::text
      OR ${IN_LINE})`;

/** SQL that sends the process of a waiter a `Notice` of `wakeup/listener.ts`, if it listens. */
function notice(namespace: string, entry: string, ...grant: string[]): string {
  const fields = [literal(namespace), "$1::text", `${entry}->'owner'`, ...grant];
  return `CASE WHEN ${entry}->>'listener' IS NOT NULL
      THEN pg_notify(${entry}->>'listener', json_build_array(${fields.join(", ")})::text)::text END`;
}

/** Notifies the process of each waiter that was granted the lock, and of the one that is the next then. */
function notified(namespace: string, owner: string): string {
  const waiting = "FROM served WHERE v->>'token' IS NULL";
  const told = notice(namespace, "v", "(v->>'token')::bigint", "(v->>'since')::bigint", `(SELECT count(*) ${waiting})`);
  return `count(${told}) FILTER (WHERE v->>'owner' <> ${owner} AND (fresh OR place = (SELECT min(place) ${waiting})))::text
      AS notified`;
}

/** Whether a lock is granted to another client than `owner`, which relies on it as soon as it is notified. */
function isRelied(owner: string): string {
  return `bool_or(fresh AND v->>'owner' <> ${owner} AND ${isWhole("v")})`;
}

/**
 * The column `commit`, which lets the commit be confirmed before it reaches the disk unless `durably`. A grant for
 * the grace need not reach it: its waiter confirms it durably before it relies on it, and a commit reaches the disk after
 * those before it.
 */
function commitUnless(durably: string): string {
  return commit(`NOT coalesce(${durably}, false)`);
}

/** The holders and the entry of the request, how many wait, the request's place among them, and the clock. */
const ANSWER = `
      (jsonb_agg(v ORDER BY place) FILTER (WHERE v->>'token' IS NOT NULL OR v->>'owner' = $2::text))::text AS entries,
      (count(v) FILTER (WHERE v->>'token' IS NULL))::text AS waiters,
      (max(place) FILTER (WHERE v->>'token' IS NULL AND v->>'owner' = $2::text)
        - count(*) FILTER (WHERE v->>'token' IS NOT NULL))::text AS position, max(clock.now)::text AS now`;

/** What a request would find, without writing. `(name, owner, limit)` */
function look(target: string): string {
  return `
    WITH settings AS (SELECT ${READ_ONLY}), ${entriesOf(target, false)},
    kept AS (SELECT place, v FROM entry WHERE live), ${RANKED}
    SELECT ${ANSWER},
      coalesce(bool_or(v->>'token' IS NULL AND place <= room), false)::text AS due,
      (count(v) + 1 <= least(min(room), $3::text::int))::text AS admits, max(settings.readonly) AS readonly
    FROM settings LEFT JOIN clock ON true LEFT JOIN ranked ON true`;
}

/**
 * Acquires the name, or stands in its line, or stays there; without a window it writes nothing unless the lock is
 * granted. The place of a waiter that listens is kept for as long as it does. `(name, owner, duration, limit, holder,
 * process, metadata, window, steal, liveness key, session pid, listener, time waited)`
 */
function join(target: string, namespace: string): string {
  const isMine = "v->>'owner' = $2::text";
  const came = cameAt("$13");
  const window = "CASE WHEN $12::text IS NULL THEN clock.now + $8::text::bigint END";
  // who asks has not gone with the connection that it listened on
  const isHere = `(live OR (${isMine} AND v->>'token' IS NULL AND v->>'listener' IS NOT NULL
        AND ${isAlive("(v->>'liveness')::bigint")}))`;
  const isWanted = `($8::text IS NOT NULL OR EXISTS (SELECT FROM served WHERE ${isMine} AND v->>'token' IS NOT NULL))`;
  return `
    WITH ${settings(lockTimeout(ACQUIRE_LOCK_TIMEOUT))}, ${entriesOf(target, true)},
    kept AS (
      SELECT place, CASE WHEN ${isMine} AND v->>'token' IS NULL
        THEN v || jsonb_build_object('until', ${window}, 'listener', $12::text) ELSE v END AS v
      FROM entry, clock WHERE ${isHere} AND NOT ($9::text = 'true' AND v->>'token' IS NOT NULL AND v->>'owner' <> $2::text)
      UNION ALL
      SELECT CASE $9::text WHEN 'true' THEN -1 ELSE 0.5 + (
          SELECT coalesce(max(place), 0) FROM entry WHERE live AND NOT ${isLater("v", came)}) END,
        jsonb_build_object('owner', $2::text, 'limit', $4::text::int, 'duration', $3::text::bigint, 'until', ${window},
        'came', ${came}, 'lockedBy', $5::text,
        'lockProcess', $6::text::bigint, 'metadata', $7::text, 'liveness', $10::text, 'session', $11::text::int,
        'listener', $12::text)
      FROM clock WHERE NOT EXISTS (SELECT FROM entry WHERE ${isHere} AND ${isMine})
        AND CASE WHEN $10::text IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared($10::text::bigint) END),
    ${served("$2::text")},
    ${written(target, isWanted)}
    SELECT ${ANSWER}, (SELECT count(*)::text FROM held) AS present,
      ${commitUnless(`bool_or(${isMine} AND v->>'token' IS NOT NULL) OR ${isRelied("$2::text")}`)},
      ${notified(namespace, "$2::text")}
    FROM written, served, clock`;
}

/**
 * Enters the queue of a name with one exclusive holder: nothing else can change then. The commit may be lost in a crash,
 * and with it a place, not a lock. `(name, owner, duration, holder, process, metadata, window, liveness key, session pid,
 * listener, time waited)`
 */
function enter(target: string): string {
  const came = cameAt("$11");
  const before = `(
      SELECT coalesce(max(place), 0) FROM unnest(l.line) WITH ORDINALITY AS e (v, place) WHERE NOT ${
    isLater("v", came)
  })`;
  return `
    WITH ${settings(lockTimeout(ACQUIRE_LOCK_TIMEOUT), LAZY)}
    UPDATE ${target} AS l SET line_owner = l.owner, line = l.line[:${before}] || jsonb_build_object(
      'owner', $2::text, 'limit', 1, 'duration', $3::text::bigint,
      'until', CASE WHEN $10::text IS NULL THEN now + $7::text::bigint END, 'came', ${came}, 'lockedBy', $4::text,
      'lockProcess', $5::text::bigint, 'metadata', $6::text, 'liveness', $8::text, 'session', $9::text::int,
      'listener', $10::text) || l.line[1 + ${before}:]
    FROM settings, (SELECT ${microseconds("clock_timestamp()")} AS now OFFSET 0) AS clock
    WHERE l.name = $1::text AND l.slots IS NULL AND l.owner <> $2::text AND ${live("l")}
      AND coalesce(NOT ${IN_LINE}, true)
    RETURNING ${columns("l", "clock_timestamp()")}, (
      SELECT place::text FROM unnest(l.line) WITH ORDINALITY AS e (v, place) WHERE v->>'owner' = $2::text) AS position`;
}

/**
 * Releases an exclusive lock: grants it to an exclusive waiter at the head of the queue; a row without a queue is freed
 * by the query `freed`. That alone takes half the time. `(name, owner)`
 */
export function handOver(target: string, namespace: string, freed: string): string {
  const until = `clock.now + ${grantTime("held.head")}`;
  const granted = notice(namespace, "held.head", "l.token", "clock.now", "coalesce(cardinality(l.line), 0)");
  const next = notice(namespace, "held.rest[1]", "NULL");
  const lasts = `coalesce(held.locked_until > clock_timestamp() + interval '${SOON_MINUTES} minutes', true)`;
  return `
    WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT))},
    freed AS (${freed}),
    held AS MATERIALIZED (
      SELECT l.name, l.locked_until, l.line[1] AS head, l.line[2:] AS rest FROM settings, ${target} AS l
      WHERE NOT EXISTS (SELECT FROM freed) AND l.name = $1::text AND l.owner = $2::text AND l.slots IS NULL
        AND l.line[1]->>'token' IS NULL AND l.line[1]->>'limit' = '1'
      FOR UPDATE OF l),
    clock AS MATERIALIZED (SELECT ${microseconds("clock_timestamp()")} AS now FROM held),
    handed AS (
      UPDATE ${target} AS l SET owner = head->>'owner', token = greatest(l.token + 1, clock.now), first_token = NULL,
        locked_by = head->>'lockedBy', lock_process = (head->>'lockProcess')::bigint, locked_until = ${timeOf(until)},
        created_at = ${timeOf("clock.now")}, updated_at = ${timeOf("clock.now")}, metadata = (head->>'metadata')::json,
        liveness = (head->>'liveness')::bigint, session_pid = (head->>'session')::int, listed = true,
        line_owner = CASE WHEN rest <> '{}' THEN head->>'owner' END, line = nullif(rest, '{}')
      FROM held, clock
      WHERE l.name = held.name AND ${live("l")} AND ${isLiveEntry("held.head", "clock.now")}
      RETURNING ${commitUnless(`${lasts} OR ${isWhole("held.head")}`)}, concat(${granted}, ${next}) AS notified)
    SELECT held, commit, NULL AS notified FROM freed UNION ALL SELECT 'true', commit, concat('to', notified) FROM handed`;
}

/**
 * Removes the entries of a request, and those that have expired, and serves the waiters. With an empty text it
 * removes only what has expired. `(name, whose)`
 */
function leave(target: string, namespace: string): string {
  const soon = SOON_MINUTES * 60e6;
  return `
    WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT))}, ${entriesOf(target, true, MAY_BE_MEANT)},
    gone AS MATERIALIZED (SELECT v, live, ${IS_MEANT} AS meant FROM entry WHERE NOT live OR ${IS_MEANT}),
    kept AS (SELECT place, v FROM entry WHERE live AND NOT ${IS_MEANT}),
    ${served("''")},
    ${written(target, "EXISTS (SELECT FROM gone WHERE live OR meant OR $2::text = '')")},
    removed AS MATERIALIZED (
      SELECT count(*) FILTER (WHERE live) AS released, count(*) AS cleaned,
        coalesce(bool_or(live AND coalesce((v->>'until')::bigint > now + ${soon}, true)), false) AS durably
      FROM gone, clock WHERE v->>'token' IS NOT NULL)
    SELECT max(released)::text AS released, max(cleaned)::text AS cleaned, count(served.v)::text AS left,
      ${commitUnless(`bool_or(durably) OR ${isRelied("''")}`)}, ${notified(namespace, "''")}
    FROM written, removed LEFT JOIN served ON true
    HAVING count(*) > 0`;
}

/**
 * Gives a live lock to another owner. With `keep`, only until so many microseconds after it was granted, to none if that
 * time is over, and without metadata. The waiters are notified: they look, and see the new expiry.
 * `(name, owner, next owner, holder, process, keep)`
 */
function changeOwner(target: string, namespace: string): string {
  const now = microseconds("clock_timestamp()");
  const first = (column: string, value: string) =>
    `${column} = CASE WHEN l.owner = $2::text THEN ${value} ELSE l.${column} END`;
  const unlessKept = (value: string) => `CASE WHEN $6::text IS NULL THEN ${value} END`;
  const until = `coalesce(l.created_at + $6::text::bigint * interval '1 microsecond', l.locked_until)`;
  const entryUntil = `coalesce((v->>'since')::bigint + $6::text::bigint, (v->>'until')::bigint)`;
  return `
    WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT), DURABLE)}
    UPDATE ${target} AS l SET ${first("owner", "$3::text")}, ${first("locked_by", "$4::text")},
      ${first("lock_process", "$5::text::bigint")}, ${first("locked_until", until)},
      ${first("metadata", unlessKept("l.metadata"))}, ${first("updated_at", "clock_timestamp()")},
      line_owner = CASE WHEN l.line_owner = $2::text THEN $3::text ELSE l.line_owner END,
      line = CASE WHEN l.owner = $2::text THEN l.line ELSE (
        SELECT array_agg(CASE WHEN v->>'owner' = $2::text THEN v || jsonb_build_object('owner', $3::text,
            'lockedBy', $4::text, 'lockProcess', $5::text::bigint, 'until', ${entryUntil},
            'metadata', ${unlessKept("v->>'metadata'")}, 'updated', ${now})
          ELSE v END ORDER BY place)
        FROM unnest(l.line) WITH ORDINALITY AS e (v, place)) END
    FROM settings
    WHERE l.name = $1::text AND ((l.owner = $2::text AND ${live("l")} AND coalesce(${until} > clock_timestamp(), true))
      OR EXISTS (
        SELECT FROM unnest(l.line) AS e (v) WHERE v->>'owner' = $2::text AND v->>'token' IS NOT NULL
          AND ${isLiveEntry("v", now)} AND coalesce(${entryUntil} > ${now}, true)))
    RETURNING l.name, (SELECT count(${notice(namespace, "v")})::text
      FROM unnest(l.line) AS e (v) WHERE v->>'token' IS NULL) AS notified`;
}

/** Extends live holders beyond the first, and never shortens their leases. `(name, whose, start, added)` */
function extend(target: string): string {
  return `
    WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT), DURABLE)}, ${entriesOf(target, true, MAY_BE_MEANT)},
    extended AS MATERIALIZED (
      SELECT place, v || jsonb_build_object('updated', now, 'until',
        CASE WHEN v->>'until' IS NULL OR $4::text IS NULL THEN NULL ELSE greatest((v->>'until')::bigint,
          $4::text::bigint + CASE $3::text WHEN 'now' THEN now WHEN 'expiry' THEN (v->>'until')::bigint
            ELSE $3::text::bigint END) END) AS v
      FROM entry, clock
      WHERE place > 0 AND live AND v->>'token' IS NOT NULL AND v->>'lockedBy' <> '' AND ${IS_MEANT}),
    written AS (
      UPDATE ${target} AS l SET line = (
        SELECT array_agg(coalesce(extended.v, entry.v) ORDER BY entry.place)
        FROM entry LEFT JOIN extended ON extended.place = entry.place WHERE entry.place > 0)
      FROM held WHERE l.name = held.name AND EXISTS (SELECT FROM extended) RETURNING l.name)
    SELECT v::text AS entry, (SELECT count(*)::text FROM entry WHERE live AND v->>'token' IS NULL) AS waiters,
      clock.now::text AS now
    FROM written, extended, clock ORDER BY place LIMIT 1`;
}

/** The statements of queues for one table. */
export function queueStatements(target: string, namespace: string) {
  return {
    look: look(target),
    join: join(target, namespace),
    enter: enter(target),
    leave: leave(target, namespace),
    changeOwner: changeOwner(target, namespace),
    extend: extend(target),
    /** Makes a free row for a name that has none. `(name)` */
    insertFree: `
      INSERT INTO ${target} (name, token, locked_by, locked_until, created_at, updated_at, listed)
      SELECT $1::text, 0, '', now, now, now, false FROM clock_timestamp() AS now ON CONFLICT (name) DO NOTHING`,
    /** The names that have a queue. */
    selectQueues: `SELECT l.name FROM ${target} AS l WHERE l.listed AND l.line IS NOT NULL ORDER BY l.name`,
  };
}
