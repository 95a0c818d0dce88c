/**
 * Requests as parameters, and rows as answers. Every value is text, because drivers differ in how they read and write
 * integers, arrays and JSON.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, LockRef, LockRow, RenewRequest } from "../../../core/backend.ts";
import { grantedRow, ownerText } from "../../../core/util/requests.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import type { Entry } from "../../shared/line.ts";
import { holdersIn, limitOf, queueIn } from "../../shared/line_answers.ts";
import { waitersOf } from "../queue/fragments.ts";
import { microseconds } from "./fragments.ts";

/** A row of an answer. */
export type Row = Readonly<Record<string, string | null>>;
/** The parameters of a statement. */
export type Parameters = (string | null)[];

/** Returns a number as a parameter. */
export function textOf(value: number | null): string | null {
  return value === null ? null : String(value);
}

function numberOf(text: string | null): number | null {
  return text === null ? null : Number(text);
}

const SPECIAL = /["\\]/;

/**
 * Writes values as an array literal, which the server reads three times as fast as JSON. NULL is an empty text, since
 * an array cannot hold it where `array_nulls` is off.
 */
export function arrayOf(values: readonly (string | null)[]): string {
  const texts = values.map((value) => value ?? "");
  if (!SPECIAL.test(texts.join(""))) return `{"${texts.join('","')}"}`;
  return `{${texts.map((text) => `"${text.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}

/** An array for each column of several rows of parameters. */
function arraysOf(rows: readonly Parameters[]): string[] {
  return rows[0].map((_, column) => arrayOf(rows.map((row) => row[column])));
}

/** The parameters of acquisitions: one for each field, or an array for each field of several. */
export function acquireParameters(requests: readonly AcquireRequest[], liveness: LivenessLock | undefined): Parameters {
  const rows = requests.map(({ name, owner, duration, lockedBy, lockProcess, metadata }) => //
  [name, owner, textOf(duration), lockedBy, textOf(lockProcess), metadata]);
  return [...rows.length === 1 ? rows[0] : arraysOf(rows), liveness?.key ?? null, liveness?.session.id ?? null];
}

/** The parameters of acquisitions that differ only in name and owner. */
export function alikeParameters(requests: readonly AcquireRequest[], liveness: LivenessLock | undefined): Parameters {
  return [...refArrays(requests), ...acquireParameters([requests[0]], liveness).slice(2)];
}

/** The parameters of one renewal. */
export function renewParameters({ name, owner, from, add }: RenewRequest): Parameters {
  return [name, ownerText(owner), String(from), textOf(add)];
}

/** The parameters of several renewals: an array for each field. */
export function renewArrays(requests: readonly RenewRequest[]): string[] {
  return arraysOf(requests.map(renewParameters));
}

/** An array of names, and one of whose locks they are. */
export function refArrays(targets: readonly LockRef[]): string[] {
  return arraysOf(targets.map(({ name, owner }) => [name, ownerText(owner)]));
}

/**
 * The columns of a row in an answer. A lock may expire after the year 2106. To count the waiters takes a tenth of the time
 * of a statement that acquires, which need not know.
 */
export function columns(row: string, now: string, waiters = waitersOf(row)): string {
  return `${row}.name, coalesce(${row}.first_token, ${row}.token)::text AS token,
    ${row}.locked_by AS holder, ${row}.lock_process::text AS process,
    (extract(epoch FROM ${row}.locked_until) * 1000000)::bigint::text AS until,
    ${microseconds(`${row}.created_at`)}::text AS created, ${microseconds(`${row}.updated_at`)}::text AS updated,
    ${row}.metadata::text AS metadata, ${row}.session_pid::text AS session, ${microseconds(now)}::text AS now,
    ${row}.slots::text AS slots, ${waiters} AS waiters, (${row}.line IS NOT NULL)::text AS queued`;
}

/** Returns a row as the core knows it. */
export function toLockRow(row: Row): LockRow {
  return {
    name: row.name!,
    token: BigInt(row.token!),
    lockedBy: row.holder ?? "",
    lockProcess: numberOf(row.process),
    lockedUntil: numberOf(row.until),
    createdAt: Number(row.created),
    updatedAt: Number(row.updated),
    metadata: row.metadata,
    now: Number(row.now),
    ...(row.session === null ? {} : { session: row.session }),
    ...(row.slots == null ? {} : { limit: limitOf(Number(row.slots)) }),
    ...(row.waiters == null ? {} : { waiters: Number(row.waiters) }),
  };
}

/** Returns the holders of a listed row. */
export function toLockRows(row: Row, includeExpired: boolean): LockRow[] {
  const first = row.live === "true" || (row.live === "false" && includeExpired) ? [toLockRow(row)] : [];
  if (row.others === null) return first;
  const line = { token: 0, entries: JSON.parse(row.others) as Entry[] };
  const now = Number(row.now);
  const queue = queueIn(line, now);
  return [...first.map((each) => ({ ...each, queue })), ...holdersIn(line, row.name!, now, includeExpired)];
}

/** The answer for a lock that was granted at `created` (µs, as text). */
function granted(
  request: AcquireRequest,
  token: string,
  created: string | null,
  liveness: LivenessLock | undefined,
): AcquireAnswer {
  const row = grantedRow(request, BigInt(token), Number(created), liveness?.session.id);
  return { granted: true, row, ...(liveness ? { session: liveness.session } : {}) };
}

/** Returns the answers of an attempt by name. The tokens of several grants are one text, at the places of the requests. */
export function acquireAnswers(
  rows: readonly Row[],
  requests: readonly AcquireRequest[],
  liveness: LivenessLock | undefined,
): Map<string, AcquireAnswer> {
  const answers = new Map<string, AcquireAnswer>();
  for (const row of rows) {
    if (row.queued === "true") continue; // the queue decides
    if (row.name !== null) {
      answers.set(row.name, { granted: false, holder: toLockRow(row) });
      continue;
    }
    for (const [place, token] of row.token?.split(",").entries() ?? []) {
      const request = requests[place];
      if (token !== "") answers.set(request.name, granted(request, token, row.created, liveness));
    }
  }
  return answers;
}

/** Returns the answers when all names were acquired with one token; otherwise nothing. */
export function allAcquired(
  { count, token, last, created }: Row,
  requests: readonly AcquireRequest[],
  liveness: LivenessLock | undefined,
): AcquireAnswer[] | undefined {
  if (Number(count) < requests.length || token !== last) return undefined;
  return requests.map((request) => granted(request, token!, created, liveness));
}

/** Returns the rows in the order of the requests. */
export function inOrderOf(requests: readonly LockRef[], rows: readonly Row[]): (LockRow | undefined)[] {
  const byName = new Map(rows.map((row) => [row.name, toLockRow(row)]));
  return requests.map(({ name }) => byName.get(name));
}
