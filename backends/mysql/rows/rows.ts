/**
 * Rows of the lock table, and lists of names.
 *
 * @module
 */
import type { LockRef, LockRow } from "../../../core/backend.ts";
import { hexadecimal } from "../connection/sql.ts";

/** The server's clock at the start of the statement, whatever the session's time zone: early, which errs on the safe side. */
export const CLOCK = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/** A row of the table: the lock, and the secret of the acquisition. */
export interface OwnedRow {
  /** The secret of the acquisition. */
  readonly owner: string;
  /** The lock as the core knows it. */
  readonly row: LockRow;
  /** The key of the liveness lock; `null` for a lease. */
  readonly session: string | null;
}

/** The columns that {@linkcode toOwnedRow} reads, as an SQL list; `now` must be in scope. */
export const COLUMNS =
  `name, owner, token, CAST(locked_by AS BINARY), lock_process, locked_until, created_at, updated_at,
  CAST(metadata AS BINARY), session, connection_id, now`;

/** The condition for rows that were not released: held or expired. */
export const UNRELEASED = "NOT (locked_until <=> 0)"; // in parentheses: HIGH_NOT_PRECEDENCE binds NOT to the column

function number(value: string | null): number | null {
  return value === null ? null : Number(value);
}

/** Converts a row as the server sent it. */
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

/** Whether a row is of the acquisition that a request is about. */
export function isOf({ owner }: LockRef, owned: OwnedRow): boolean {
  return owner === null || owner === (typeof owner === "bigint" ? owned.row.token : owned.owner);
}

/** Names in one statement, at most. */
const CHUNK_SIZE = 500;

/** Splits a list into parts for one statement each. */
export function chunks<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / CHUNK_SIZE) }, (_, index) => {
    return items.slice(index * CHUNK_SIZE, (index + 1) * CHUNK_SIZE);
  });
}

/** Beyond the first 65,536 characters the order of UTF-16 differs from that of the bytes of UTF-8. */
const SURROGATE = /[\ud800-\udfff]/;

/** Sorts items by the bytes of their names, as the server does: all clients lock rows in this order. */
export function sorted<T extends { readonly name: string }>(items: readonly T[]): T[] {
  const hasSurrogates = items.some(({ name }) => SURROGATE.test(name));
  const keyed = items.map((item) => ({ item, key: hasSurrogates ? hexadecimal(item.name) : item.name }));
  return keyed.sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0).map(({ item }) => item);
}
