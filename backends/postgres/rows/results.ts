/**
 * What the rows of an answer mean to the core.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, LockRef, LockRow } from "../../../core/backend.ts";
import { grantedRow } from "../../../core/granted_row.ts";
import { type Row, toLockRow } from "./rows.ts";
import type { Voucher } from "../session/voucher.ts";

/** Held by somebody who could not be seen. */
export const BUSY: AcquireAnswer = { granted: false, holder: undefined };

/** What the rows that an attempt was answered with say of the requests, by name. */
export function answersOf(
  rows: readonly Row[],
  requests: readonly AcquireRequest[],
  voucher: Voucher | undefined,
): Map<string, AcquireAnswer> {
  const answers = new Map<string, AcquireAnswer>();
  const grant = (request: AcquireRequest, token: string, createdAt: string) =>
    answers.set(request.name, granted(grantedRow(request, BigInt(token), Number(createdAt), voucher?.pid), voucher));
  for (const row of rows) {
    if (row.tokens) {
      row.tokens.split(",").forEach((token, place) => token && grant(requests[place], token, row.created!));
    } else if (row.mine === "true") grant(requests.find(({ name }) => name === row.name)!, row.token!, row.created!);
    else answers.set(row.name!, { granted: false, holder: toLockRow(row) });
  }
  return answers;
}

/** The answers when all were taken with one token; `undefined` when not. */
export function allOf(
  row: Row,
  requests: readonly AcquireRequest[],
  voucher: Voucher | undefined,
): AcquireAnswer[] | undefined {
  if (Number(row.count) < requests.length || row.token !== row.last) return undefined;
  const token = BigInt(row.token!), created = Number(row.created);
  return requests.map((request) => granted(grantedRow(request, token, created, voucher?.pid), voucher));
}

function granted(row: LockRow, voucher: Voucher | undefined): AcquireAnswer {
  return voucher === undefined ? { granted: true, row } : { granted: true, row, session: voucher.lifeline };
}

/** Which of several were freed: a digit for each, or nothing when all were. */
export function freedOf({ freed }: Row, count: number): boolean[] {
  return freed === null ? Array(count).fill(true) : Array.from(freed, (digit) => digit === "1");
}

/** The answered rows in the order of the requests. */
export function inOrderOf(requests: readonly LockRef[], rows: readonly Row[]): (LockRow | undefined)[] {
  const byName = new Map(rows.map((row) => [row.name, toLockRow(row)]));
  return requests.map(({ name }) => byName.get(name));
}
