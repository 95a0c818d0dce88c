/**
 * How a line is stored: the first entry in the columns of the lock's row, the others as JSON in `line`, which is NULL
 * for an exclusive lock without waiters.
 *
 * @module
 */
import type { LockRow } from "../../../core/backend.ts";
import type { SqliteRow } from "../rows/rows.ts";
import type { Entry, Line } from "../../shared/line.ts";
import { holdersIn } from "../../shared/line_answers.ts";

/** Returns the line of a row; that of a name without a row is empty. */
export function lineOf(row: SqliteRow): Line {
  const rest: Entry[] = typeof row.line === "string" ? JSON.parse(row.line) : row.line ?? [];
  return { token: Number(row.highest ?? 0), entries: row.owner === null ? rest : [firstOf(row), ...rest] };
}

function firstOf(row: SqliteRow): Entry {
  return {
    owner: row.owner!,
    limit: Number(row.slots ?? 1),
    duration: null,
    until: row.locked_until === null ? null : Number(row.locked_until),
    token: Number(row.token),
    since: Number(row.created_at),
    updated: Number(row.updated_at),
    lockedBy: row.locked_by,
    lockProcess: row.lock_process === null ? null : Number(row.lock_process),
    metadata: textOf(row.metadata),
  };
}

/** The text of a JSON column, which some drivers have parsed. */
function textOf(metadata: unknown): string | null {
  if (typeof metadata === "string") return metadata;
  return metadata === null || metadata === undefined ? null : JSON.stringify(metadata);
}

/** The values of a line that is not empty, in the order of the statement that stores it. */
export function valuesOf(name: string, { token, entries: [first, ...rest] }: Line): unknown[] {
  const { owner, limit, until, since, updated, lockedBy, lockProcess, metadata } = first;
  const slots = limit === 1 ? null : limit;
  const plain = rest.length === 0 && slots === null && first.token === token;
  const columns = [name, owner, String(token), lockedBy, lockProcess, until, since, updated, metadata];
  const queue = plain ? [null, null, null, null] : [slots, first.token, owner, JSON.stringify(rest)];
  return [...columns, ...queue];
}

/** Returns the holders of a row, with or without expired ones, in the order in which they came. */
export function holdersOf(row: SqliteRow, includeExpired: boolean): LockRow[] {
  return holdersIn(lineOf(row), row.name!, Number(row.now), includeExpired);
}
