import type { Timer } from "../../core/runtime.ts";
import type { Session } from "./session.ts";

/** A place in the server's queue for one name. */
export interface Place {
  /** The name. */
  readonly name: string;
  /** Told when the lock was had, and when it has to be tried for. */
  readonly wakes: Set<() => void>;
  /** The connection that waits, and then has the lock. */
  session?: Session | undefined;
  /** Whether it has the lock, which nobody of this process has taken over yet. */
  granted: boolean;
  /** Stops listening to the end of a session that has the lock. */
  forget?: () => void;
  /** The wait under way. */
  standing: Promise<void>;
  /** How long to wait before it is taken again when it was lost (ms). */
  pause: number;
  /** Takes it then. */
  timer?: Timer;
}
