/**
 * What the rows of an answer mean to the core.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, LockRow, Target } from "../../core/backend.ts";
import { freshRow } from "../../core/fresh_row.ts";
import { type Row, toLockRow } from "./rows.ts";
import type { Voucher } from "./voucher.ts";

/** Held by somebody who could not be seen. */
export const BUSY: AcquireAnswer = { granted: false, holder: undefined };

/** Whether the attempt was granted, and what is in the way if not. */
export function answerOf(row: Row, request: AcquireRequest, voucher: Voucher | undefined): AcquireAnswer {
  if (row.mine !== "true") return { granted: false, holder: toLockRow(row) };
  const granted = row.now === null
    ? freshRow(request, BigInt(row.token!), Number(row.created), voucher?.pid)
    : toLockRow(row);
  return { granted: true, row: granted, ...(voucher ? { lifeline: voucher.lifeline } : {}) };
}

/** The answered rows in the order of the requests. */
export function inOrderOf(requests: readonly Target[], rows: readonly Row[]): (LockRow | undefined)[] {
  const byName = new Map(rows.map((row) => [row.name, toLockRow(row)]));
  return requests.map(({ name }) => byName.get(name));
}
