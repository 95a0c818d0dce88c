/**
 * What the rows of an answer mean to the core.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, LockRow, Target } from "../../core/backend.ts";
import { type Row, toLockRow } from "./rows.ts";
import type { Voucher } from "./voucher.ts";

/** Held by somebody who could not be seen. */
export const BUSY: AcquireAnswer = { granted: false, holder: undefined };

/** Whether the attempt was granted, and what is in the way if not. */
export function answerOf(row: Row, request: AcquireRequest, voucher: Voucher | undefined): AcquireAnswer {
  if (row.mine !== "true") return { granted: false, holder: toLockRow(row) };
  const granted = row.now === null ? freshRow(row, request, voucher) : toLockRow(row);
  return { granted: true, row: granted, ...(voucher ? { lifeline: voucher.lifeline } : {}) };
}

/** The row that was just written for a request. */
function freshRow(row: Row, request: AcquireRequest, voucher: Voucher | undefined): LockRow {
  const { name, lockedBy, lockProcess, duration, metadata } = request;
  const now = Number(row.created);
  return {
    name,
    token: BigInt(row.token!),
    lockedBy,
    lockProcess,
    lockedUntil: duration === null ? null : now + duration,
    createdAt: now,
    updatedAt: now,
    metadata,
    now,
    ...(voucher ? { session: voucher.pid } : {}),
  };
}

/** The answered rows in the order of the requests. */
export function inOrderOf(requests: readonly Target[], rows: readonly Row[]): (LockRow | undefined)[] {
  const byName = new Map(rows.map((row) => [row.name, toLockRow(row)]));
  return requests.map(({ name }) => byName.get(name));
}
