/**
 * Helpers for lists of requests.
 *
 * @module
 */
import type { AcquireRequest } from "../backend.ts";

/** Names the locks of a request for an error message: `lock "a"`, or `lock "a" and 2 more`. */
export function namesOf(requests: readonly { readonly name: string }[]): string {
  const first = `lock ${JSON.stringify(requests[0]?.name)}`;
  return requests.length > 1 ? `${first} and ${requests.length - 1} more` : first;
}

/** Whether all requests are equal except for their names and owners. */
export function areAlike(requests: readonly AcquireRequest[]): boolean {
  const [first] = requests;
  return requests.every(({ duration, lockedBy, lockProcess, metadata, shared }) =>
    duration === first.duration && lockedBy === first.lockedBy && lockProcess === first.lockProcess &&
    metadata === first.metadata && shared === first.shared
  );
}
