import type { LockRow } from "../../../core/backend.ts";

/** One row as the statements answer it: every value as text, whatever the driver. */
export type Row = Readonly<Record<string, string | null>>;

/** The row as the core knows it. */
export function toLockRow(row: Row): LockRow {
  return {
    name: row.name!,
    token: BigInt(row.token!),
    lockedBy: row.holder!,
    lockProcess: numberOf(row.process),
    lockedUntil: numberOf(row.until),
    createdAt: Number(row.created),
    updatedAt: Number(row.updated),
    metadata: row.metadata,
    now: Number(row.now),
    ...(row.session === null ? {} : { session: row.session }),
  };
}

function numberOf(text: string | null): number | null {
  return text === null ? null : Number(text);
}
