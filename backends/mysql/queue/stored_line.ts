/**
 * How a line is stored: the first entry in the columns of the lock's row, the others as JSON in `line`, which is NULL
 * for an exclusive lock without waiters.
 *
 * @module
 */
import type { LockRow } from "../../../core/backend.ts";
import type { Entry, Line } from "../../shared/line.ts";
import { holdersIn } from "../../shared/line_answers.ts";
import { number } from "../rows/rows.ts";

/** The line of a name as it was read. */
export interface StoredLine {
  /** The name's holders and waiters. */
  readonly line: Line;
  /** The server's clock (µs). */
  readonly now: number;
  /** Whether the name has a row. */
  readonly exists: boolean;
  /** What the row had in these columns; it has not changed as long as they have not. */
  readonly owner: string;
  readonly token: string;
  readonly lockedUntil: string | null;
  readonly text: string | null;
}

/** What is read of a name without a row. */
export const NO_ROW: StoredLine = {
  line: { token: 0, entries: [] },
  now: 0,
  exists: false,
  owner: "",
  token: "0",
  lockedUntil: null,
  text: null,
};

/** Converts a row as the server sent it. */
export function storedLineOf(columns: readonly (string | null)[]): StoredLine {
  const [, owner, token, lockedBy, lockProcess, lockedUntil, createdAt, updatedAt, metadata, liveness, session, now] =
    columns;
  const [slots, firstToken, text] = columns.slice(12);
  const rest: Entry[] = text === null ? [] : JSON.parse(text);
  const first: Entry = {
    owner: owner ?? "",
    limit: Number(slots ?? 1),
    duration: null,
    until: number(lockedUntil),
    token: Number(firstToken ?? token!),
    since: Number(createdAt),
    updated: Number(updatedAt),
    lockedBy: lockedBy ?? "",
    lockProcess: number(lockProcess),
    metadata,
    liveness,
    session,
  };
  const line = { token: Number(token), entries: lockedUntil === "0" ? rest : [first, ...rest] };
  return { line, now: Number(now), exists: true, owner: owner ?? "", token: token!, lockedUntil, text };
}

/** Whether a row is as it was when it was read before. */
export function isUnchanged(read: StoredLine, before: StoredLine | undefined): boolean {
  return before !== undefined && read.owner === before.owner && read.token === before.token &&
    read.lockedUntil === before.lockedUntil && read.text === before.text;
}

/** Returns the holders of a listed row beyond the first, in the order in which they came. */
export function othersOf(columns: readonly (string | null)[], includeExpired: boolean): LockRow[] {
  const { line: { token, entries }, now, text } = storedLineOf(columns);
  if (text === null) return [];
  const others = entries.slice(columns[5] === "0" ? 0 : 1);
  return holdersIn({ token, entries: others }, columns[0]!, now, includeExpired);
}
