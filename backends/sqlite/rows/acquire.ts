import type { AcquireAnswer, AcquireRequest, LockRow } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { BUSY, grantedRow } from "../../../core/util/requests.ts";
import { isPlain } from "../../shared/line.ts";
import type { RowParts } from "./row_parts.ts";
import { inChunks } from "./statements.ts";

/** Acquires what is free, or all or nothing. A failed attempt writes nothing. */
export async function acquire(
  parts: RowParts,
  what: string,
  requests: readonly AcquireRequest[],
  allOrNothing: boolean,
): Promise<AcquireAnswer[]> {
  const { connection, queue } = parts;
  const { known, grants } = await connection.attempt(what, () => precheck(parts, requests, allOrNothing));
  if (known) return known;
  if (!grants) {
    // A crash may forget that a client waits, but not a grant: that is written again, durably.
    const enqueue = () => requests.map((request) => queue.acquire(request));
    const areQueued = (answers: AcquireAnswer[]) => answers.every(({ granted }) => !granted);
    const answers = await connection.write(what, "NORMAL", enqueue, areQueued);
    if (areQueued(answers)) return answers;
  }
  return await connection.write(what, "FULL", () => {
    if (allOrNothing) return acquireAll(parts, requests);
    return requests.length > 1 ? acquireMany(parts, requests) : [acquireOne(parts, requests[0])];
  });
}

/** Returns the answers, if they need no write, and whether a lock may be granted. */
function precheck(
  parts: RowParts,
  requests: readonly AcquireRequest[],
  allOrNothing: boolean,
): { known: AcquireAnswer[] | undefined; grants: boolean } {
  const mayBeFree = !allOrNothing && requests.length > 1 && selectTokens(parts, requests).tokens.some(Boolean);
  if (mayBeFree) return { known: undefined, grants: true };
  const previews = requests.map((request) => parts.queue.preview(request));
  const grants = previews.some(({ grants }) => grants);
  const refused = allOrNothing && previews.some(({ answer }) => answer?.granted === false);
  if (!refused && previews.some(({ answer }) => answer === undefined)) return { known: undefined, grants };
  return { known: previews.map(({ answer }) => answer ?? BUSY), grants };
}

function acquireAll(parts: RowParts, requests: readonly AcquireRequest[]): AcquireAnswer[] {
  const { known } = precheck(parts, requests, true);
  if (known) return known;
  const answers = requests.map((request) => acquireOne(parts, request));
  if (answers.every(({ granted }) => granted)) return answers;
  const error = "Cannot acquire several locks at once: the clock went back meanwhile";
  throw new BackendError(error, { retryable: true });
}

function acquireOne(parts: RowParts, request: AcquireRequest): AcquireAnswer {
  return (isPlain(request) ? insert(parts, request) : undefined) ?? parts.queue.acquire(request);
}

/**
 * Acquires a name if it is free. The token is read under the file's write lock, so that tokens rise in the order of
 * grants. Reading first and writing plain values takes half the time of one statement that decides and returns the
 * row.
 */
function insert({ connection, sql }: RowParts, request: AcquireRequest): AcquireAnswer | undefined {
  const next = connection.prepare(sql.selectNext).get(request.name) as { token: string; now: string } | null;
  if (!next) return undefined;
  const row = grantedRow(request, BigInt(next.token), Number(next.now));
  connection.run(sql.insert(1), ...valuesOf(request, row));
  return { granted: true, row, session: connection.file };
}

/** Acquires many names with one read and few writes, since a call into SQLite costs as much as its work. */
function acquireMany(parts: RowParts, requests: readonly AcquireRequest[]): AcquireAnswer[] {
  if (!requests.every(isPlain) || new Set(requests.map(({ name }) => name)).size < requests.length) {
    return requests.map((request) => acquireOne(parts, request));
  }
  const { connection, sql } = parts;
  const { now, tokens } = selectTokens(parts, requests);
  const rows = tokens.map((token, index) => token ? grantedRow(requests[index], BigInt(token), now) : undefined);
  const values = rows.flatMap((row, index) => row ? [valuesOf(requests[index], row)] : []);
  for (const chunk of inChunks(values)) connection.run(sql.insert(chunk.length), ...chunk.flat());
  return rows.map((row, index) => {
    return row ? { granted: true, row, session: connection.file } : acquireOne(parts, requests[index]);
  });
}

/**
 * Reads the clock (µs), and the next token of each name as text, `null` for one that is not free. One row for all names: a
 * row for each would take three times as long.
 */
function selectTokens({ connection, sql }: RowParts, requests: readonly AcquireRequest[]) {
  const names = JSON.stringify(requests.map(({ name }) => name));
  const row = connection.prepare(sql.selectMany).get(names) as { now: string; others: unknown };
  const tokens: (string | null)[] = Array(requests.length).fill(row.now);
  // Some drivers parse what looks like JSON.
  const others: [number, string | null][] = typeof row.others === "string" ? JSON.parse(row.others) : row.others;
  for (const [index, token] of others) tokens[index] = token;
  return { now: Number(row.now), tokens };
}

/** The values of a row in the order of the statement. */
function valuesOf({ owner }: AcquireRequest, row: LockRow): unknown[] {
  const { name, token, lockedBy, lockProcess, lockedUntil, now, metadata } = row;
  return [name, owner, String(token), lockedBy, lockProcess, lockedUntil, now, now, metadata];
}
