import type { Hash } from "node:crypto";
import { builtin } from "../../../core/util/runtime.ts";
import { keyOf } from "../keys.ts";

/** The namespace of a table's session locks among all keys. */
function namespaced(namespace: string): string {
  return `session:${namespace}`;
}

/** SQL for the key of a session lock; `name` is an SQL expression. */
export function sessionKeyOf(namespace: string, name: string): string {
  return keyOf(namespaced(namespace), name);
}

/**
 * The same key computed here, as decimal text: in a batch the server spent 3 of 5.6 µs a pair on computing it for each
 * statement.
 */
export function sessionKey(namespace: string, name: string): string {
  const { createHash } = builtin<{ createHash(algorithm: string): Hash }>("node:crypto")!; // there as sockets are
  const digest = createHash("sha256").update(`lockmgr:${namespaced(namespace)}:${name}`).digest("hex");
  return BigInt.asIntN(64, BigInt(`0x${digest.slice(0, 16)}`)).toString();
}
