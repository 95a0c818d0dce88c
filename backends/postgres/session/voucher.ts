import type { SessionHandle } from "../../../core/backend.ts";

/** What vouches for the rows of hybrid locks: the key of an advisory lock, and the session that keeps it. */
export interface Voucher {
  /** The key, as text. */
  readonly key: string;
  /** The process id of the session. */
  readonly pid: string;
  /** The session. */
  readonly lifeline: SessionHandle & { end(reason: Error): void };
}
