/**
 * Helpers for requests, most of them of engines.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, LockRef, LockRow, OwnedLock } from "../backend.ts";
import { monotonic } from "./runtime.ts";

/** The answer to a request that is not granted. */
export type BusyAnswer = AcquireAnswer & { readonly granted: false };

/** The answer for a name that could not be acquired, and whose holder is not known. */
export const BUSY: BusyAnswer = { granted: false, holder: undefined };

/** Names the locks of a request for an error message: `lock "a"`, or `lock "a" and 2 more`. */
export function namesOf(requests: readonly { readonly name: string }[]): string {
  const first = `lock ${JSON.stringify(requests[0]?.name)}`;
  return requests.length > 1 ? `${first} and ${requests.length - 1} more` : first;
}

/** Returns whose lock a request is about as one text, for engines that compare it with `owner` and `'#' || token`. */
export function ownerText(owner: LockRef["owner"]): string | null {
  return typeof owner === "bigint" ? `#${owner}` : owner;
}

/** Returns what releases a lock that a request was granted. */
export function claimOf({ name, owner, keep }: AcquireRequest): OwnedLock {
  return keep === undefined ? { name, owner } : { name, owner, keep };
}

/** Returns for how long the caller of a request has waited (µs). */
export function waitedFor({ cameAt }: AcquireRequest): number {
  return cameAt === undefined ? 0 : Math.round((monotonic() - cameAt) * 1e3);
}

/** Waits for all, then throws the first error. */
export async function settled<T>(all: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(all);
  return await Promise.all(all);
}

/** Sends some requests and the others apart; returns the answers in the order of the requests. */
export async function inParts<Request, Answer>(
  requests: readonly Request[],
  isOther: (request: Request) => boolean,
  sendSome: (requests: readonly Request[]) => Promise<readonly Answer[]>,
  sendOthers: (requests: readonly Request[]) => Promise<readonly Answer[]>,
): Promise<Answer[]> {
  const areOthers = requests.map(isOther);
  if (!areOthers.includes(true)) return [...await sendSome(requests)];
  const some = requests.filter((_, index) => !areOthers[index]);
  const others = requests.filter((_, index) => areOthers[index]);
  const answers = await Promise.all([some.length > 0 ? sendSome(some) : [], sendOthers(others)]);
  const [next, nextOther] = answers.map((list) => list.values());
  return areOthers.map((isOther) => (isOther ? nextOther : next).next().value!);
}

/** Whether all requests are equal except for their names and owners. */
export function areAlike(requests: readonly AcquireRequest[]): boolean {
  const [first] = requests;
  return requests.every(({ duration, lockedBy, lockProcess, metadata, limit }) =>
    duration === first.duration && lockedBy === first.lockedBy && lockProcess === first.lockProcess &&
    metadata === first.metadata && limit === first.limit
  );
}

/** Returns the row that an engine has just written for a request, without reading it. */
export function grantedRow(request: AcquireRequest, token: bigint, now: number, session?: string): LockRow {
  const { name, lockedBy, lockProcess, duration, metadata } = request;
  const lockedUntil = duration === null ? null : now + duration;
  const row = { name, token, lockedBy, lockProcess, lockedUntil, createdAt: now, updatedAt: now, metadata, now };
  return session === undefined ? row : { ...row, session };
}
