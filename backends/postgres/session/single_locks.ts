import type { AcquireAnswer, AcquireRequest, LockRef } from "../../../core/backend.ts";
import { BUSY } from "../rows/rows.ts";
import { translate } from "../errors.ts";
import { rowOf, stampOf } from "./held_locks.ts";
import { type LockParts, undo } from "./session_parts.ts";

/** Session locks that are taken and freed by a statement each, whatever is wanted. */
export class SingleLocks {
  readonly #parts: LockParts;

  constructor(parts: LockParts) {
    this.#parts = parts;
  }

  /** Takes a name if it is free. */
  async take(request: AcquireRequest): Promise<AcquireAnswer> {
    const { sql, keys, sessions, held } = this.#parts;
    const what = () => `acquire lock ${JSON.stringify(request.name)}`;
    const present = held.find(request.name);
    // one of this process: its own again after a lost answer, or busy
    if (present?.owner === request.owner) return { granted: true, row: present.row, session: present.session };
    if (present) return { granted: false, holder: rowOf(present) };
    const key = keys.of(request.name);
    const session = await sessions.withRoom(what);
    let granted = false;
    try {
      const [row] = await session.send(sql.acquire, [key]);
      if (row.token === null) return BUSY;
      if (session.ended) throw session.ended;
      granted = true;
      return held.enter(session, key, request, stampOf(row));
    } catch (error) {
      await undo(session, sql.release, key);
      throw translate(what(), error);
    } finally {
      if (!granted) sessions.makeRoom(session);
    }
  }

  /** Frees a name if its owner holds it. */
  async free({ name, owner }: LockRef): Promise<boolean> {
    const { sql, sessions, held } = this.#parts;
    const present = held.find(name);
    if (present?.owner !== owner) return false;
    const { session, key } = present;
    try {
      const [row] = await session.send(sql.release, [key]);
      return row.freed === "true";
    } catch (error) {
      if (session.ended) return false; // it went with the session
      await session.close(); // nobody can say what it still holds
      throw translate(`release lock ${JSON.stringify(name)}`, error);
    } finally {
      held.remove(name);
      sessions.makeRoom(session);
    }
  }
}
