import type { Backend, Diagnostic, LockActivity, LockRow } from "../../core/backend.ts";
import type { Session } from "./session.ts";
import type { SessionPool } from "./session_pool.ts";

/** Advice where another server may become the primary. */
export const SESSIONS_END = 'Use "hybrid": a failover frees session locks at once, and their holders may not know yet';

/** What came of one attempt to acquire several keys. */
export interface Attempt {
  /** Which were acquired. */
  readonly taken: readonly boolean[];
  /** Their fencing token, drawn when all of them were held. */
  readonly token: bigint;
  /** The server's clock then (µs). */
  readonly now: number;
}

/** What an engine supplies for `"session"` mode. No statement waits for a lock: other locks share its session. */
export interface SessionEngine<S extends Session> {
  /** The engine's name. */
  readonly name: string;
  /** The sessions that carry the locks. */
  readonly pool: SessionPool<S>;
  /**
   * Waits, within a bound, until the server has ended all connections that were given up, and returns whether it has;
   * `undefined` when there are none.
   */
  settled(): Promise<boolean> | undefined;
  /** The server's key of a name. */
  keyOf(name: string): string;
  /** Tries once to acquire keys, none of which the session holds. */
  acquire(session: S, keys: readonly string[]): Promise<Attempt>;
  /** Releases keys; returns which of them the session held. */
  release(session: S, keys: readonly string[]): Promise<readonly boolean[]>;
  /** Whether the session holds a key, as the server says. */
  verify(session: S, key: string): Promise<boolean>;
  /** Restores what was missing when an acquisition failed with this error; returns whether to repeat it. */
  repair?(error: unknown): Promise<boolean>;
  /** The locks of these names that other sessions hold, as rows. */
  listOthers(names: readonly string[]): Promise<LockRow[]>;
  /** The error of this library for one of the server or the driver. */
  translate(what: string, error: unknown): Error;
  /** See {@linkcode Backend.watch}. */
  watch(name: string, wake: () => void): Promise<Disposable>;
  /** See {@linkcode Backend.observe}. */
  observe(names: readonly string[]): Promise<LockActivity[]>;
  /** See {@linkcode Backend.diagnose}. */
  diagnose(): Promise<Diagnostic[]>;
  /** Closes the other connections that were opened for the backend, while `pool` closes the sessions. */
  close(backend: Backend): Promise<void>;
}
