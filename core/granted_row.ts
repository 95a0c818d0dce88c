import type { AcquireRequest, LockRow } from "./backend.ts";

/** The row that an engine has just written for a request: it need not be read to be known. */
export function grantedRow(request: AcquireRequest, token: bigint, now: number, session?: string): LockRow {
  const { name, lockedBy, lockProcess, duration, metadata } = request;
  const row: LockRow = {
    name,
    token,
    lockedBy,
    lockProcess,
    lockedUntil: duration === null ? null : now + duration,
    createdAt: now,
    updatedAt: now,
    metadata,
    now,
  };
  return session === undefined ? row : { ...row, session };
}
