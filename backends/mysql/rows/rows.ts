/**
 * Rows of the lock table, and lists of names.
 *
 * @module
 */
import type { LockRef, LockRow } from "../../../core/backend.ts";
import { byCodePoint } from "../../../core/util/order.ts";
import type { Entry } from "../../shared/line.ts";
import { limitOf, queueIn } from "../../shared/line_answers.ts";
import { bytes, integer } from "../connection/inline_parameters.ts";

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

/** The columns that {@linkcode toOwnedRow} reads, as an SQL list. A derived table for the clock costs 30 µs a statement. */
export const COLUMNS =
  `name, owner, token, CAST(locked_by AS BINARY), lock_process, locked_until, created_at, updated_at,
  CAST(metadata AS BINARY), session, connection_id, ${CLOCK} AS now, slots, first_token, CAST(line AS BINARY)`;

/** The condition for rows that were not released: held or expired. */
export const UNRELEASED = "NOT (locked_until <=> 0)"; // in parentheses: HIGH_NOT_PRECEDENCE binds NOT to the column

/**
 * Releases a row. The owner stays: a row whose length does not change is updated in place, which saves a batch a quarter
 * of the server's time. The place of a name in the index of held rows is kept if it is acquired often.
 */
export const FREE = `locked_until = 0, updated_at = ${CLOCK}, listed = IF(listed = 2, 2, 0)`;

/** The condition for the row of one acquisition, or of the present holder. */
export function belongsTo({ name, owner }: LockRef): string {
  const ofOwner = typeof owner === "bigint"
    ? `COALESCE(first_token, token) = ${integer(owner)}`
    : owner && `owner = ${bytes(owner)}`;
  return `name = ${bytes(name)} AND ${ofOwner ?? UNRELEASED}`;
}

/** Returns a number of the server; `null` for NULL. */
export function number(value: string | null): number | null {
  return value === null ? null : Number(value);
}

/** Converts a row as the server sent it; of several holders the first. */
export function toOwnedRow(columns: readonly (string | null)[]): OwnedRow {
  const [name, owner, token, lockedBy, lockProcess, lockedUntil, createdAt, updatedAt, metadata, session, id, now] =
    columns;
  const [slots, firstToken, line] = columns.slice(12);
  const row: LockRow = {
    name: name!,
    token: BigInt(firstToken ?? token!),
    lockedBy: lockedBy ?? "",
    lockProcess: number(lockProcess),
    lockedUntil: number(lockedUntil),
    createdAt: Number(createdAt),
    updatedAt: Number(updatedAt),
    metadata,
    now: Number(now),
    ...(session === null ? {} : { session: id }),
    ...(line === null ? {} : queued(Number(slots ?? 1), JSON.parse(line), Number(now))),
  };
  return { owner: owner ?? "", row, session };
}

/** What a row with a line says beyond the columns. */
function queued(slots: number, entries: readonly Entry[], now: number): Pick<LockRow, "limit" | "waiters" | "queue"> {
  const queue = queueIn({ token: 0, entries }, now);
  return { limit: limitOf(slots), waiters: queue.length, queue };
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

/** Sorts items by their names, as the server does: all clients lock rows in this order. */
export function sorted<T extends { readonly name: string }>(items: readonly T[]): T[] {
  return items.toSorted((one, other) => byCodePoint(one.name, other.name));
}
