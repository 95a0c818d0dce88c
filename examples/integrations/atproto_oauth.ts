/**
 * The `requestLock` of `@atproto/oauth-client-node`: one process at a time refreshes the tokens of a user, since a
 * refresh token is valid once.
 *
 * @module
 */
import type { NodeOAuthClientOptions } from "@atproto/oauth-client-node";
import { type Backend, withLock } from "@lockmgr/lockmgr";

/**
 * Returns what to pass as `requestLock` to `new NodeOAuthClient({ … })`. A refresh takes at most 30 s: a caller that waits
 * longer than three of them gets a `LockTimeout`.
 */
export function requestLockOn(backend: Backend): NonNullable<NodeOAuthClientOptions["requestLock"]> {
  return (name, fn) => withLock(name, { backend, expires: 30, wait: 90 }, async () => await fn());
}
