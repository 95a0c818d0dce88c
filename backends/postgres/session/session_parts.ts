import type { HeldLocks } from "./held_locks.ts";
import type { Session } from "./session.ts";
import type { SessionKeys } from "./session_keys.ts";
import type { SessionStatements } from "./session_statements.ts";
import type { Sessions } from "./session_pool.ts";

/** What session locks are taken and freed with. */
export interface LockParts {
  readonly sql: SessionStatements;
  readonly keys: SessionKeys;
  readonly sessions: Sessions;
  readonly held: HeldLocks;
}

/** An error does not mean that nothing was granted: it is given back, or the session with it. */
export async function undo(session: Session, release: string, keys: string): Promise<void> {
  if (session.ended) return;
  try {
    await session.send(release, [keys]);
  } catch {
    await session.close();
  }
}
