import type { LockRow } from "../../../core/backend.ts";

/** A row as the statements return it: numbers as text. */
export interface SqliteRow {
  readonly name: string;
  /** The secret of the acquisition. */
  readonly owner: string;
  readonly token: string;
  readonly locked_by: string;
  /** A number for people. */
  readonly lock_process: string | null;
  readonly locked_until: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  /** JSON text. */
  readonly metadata: unknown;
  /** The clock of the statement. */
  readonly now: string;
}

/** Converts a row to the core's form. */
export function toLockRow(row: SqliteRow): LockRow {
  return {
    name: row.name,
    token: BigInt(row.token),
    lockedBy: row.locked_by,
    lockProcess: row.lock_process === null ? null : Number(row.lock_process),
    lockedUntil: row.locked_until === null ? null : Number(row.locked_until),
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
    metadata: typeof row.metadata === "string" ? row.metadata : textOf(row.metadata),
    now: Number(row.now),
  };
}

/** The text of a JSON column that the driver has parsed. */
function textOf(metadata: unknown): string | null {
  return metadata === null || metadata === undefined ? null : JSON.stringify(metadata);
}
