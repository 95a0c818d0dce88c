/**
 * What is known of session locks, which have no rows, in the shape of rows.
 *
 * @module
 */
import type { AcquireRequest, LockRow } from "../../../core/backend.ts";

/** Nothing lapses here: all times are the one of the acquisition. */
function times(clock: number): Pick<LockRow, "createdAt" | "updatedAt" | "now" | "lockedUntil"> {
  return { createdAt: clock, updatedAt: clock, now: clock, lockedUntil: null };
}

/** A lock that was granted here. */
export function heldRow(request: AcquireRequest, token: bigint, clock: number, connectionId: number): LockRow {
  const { name, lockedBy, lockProcess, metadata } = request;
  return {
    name,
    token,
    lockedBy,
    lockProcess,
    metadata,
    session: String(connectionId),
    ...times(clock),
  };
}

/** A lock of another connection, of which the server tells no more than that connection's id. */
export function foreignRow(name: string, clock: number, id: string): LockRow {
  const lockedBy = `connection ${id}`;
  return { name, token: 0n, lockedBy, lockProcess: null, metadata: null, session: id, ...times(clock) };
}
