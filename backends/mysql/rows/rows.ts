import type { LockRow } from "../../../core/backend.ts";

/** A row of the table: the lock, and the secret of the acquisition. */
export interface OwnedRow {
  /** The secret of the acquisition. */
  readonly owner: string;
  /** The lock as the core knows it. */
  readonly row: LockRow;
  /** The GET_LOCK that vouches for it; `null` for a lease. */
  readonly session: string | null;
}

/** The columns that {@linkcode toOwnedRow} reads, as an SQL list; `now` must be in scope. */
export const COLUMNS =
  `name, owner, token, CAST(locked_by AS BINARY), lock_process, locked_until, created_at, updated_at,
  CAST(metadata AS BINARY), session, connection_id, now`;

/** What was not released: it is held, or it has lapsed. */
export const UNRELEASED = "NOT (locked_until <=> 0)"; // in parentheses: HIGH_NOT_PRECEDENCE binds NOT to the column

/** A whole number, or `null`. */
function number(value: string | null): number | null {
  return value === null ? null : Number(value);
}

/** The row as the core knows it. */
export function toOwnedRow(columns: readonly (string | null)[]): OwnedRow {
  const [name, owner, token, lockedBy, lockProcess, lockedUntil, createdAt, updatedAt, metadata, session, id, now] =
    columns;
  const row: LockRow = {
    name: name!,
    token: BigInt(token!),
    lockedBy: lockedBy!,
    lockProcess: number(lockProcess),
    lockedUntil: number(lockedUntil),
    createdAt: Number(createdAt),
    updatedAt: Number(updatedAt),
    metadata,
    now: Number(now),
    ...(session === null ? {} : { session: id }),
  };
  return { owner: owner!, row, session };
}
