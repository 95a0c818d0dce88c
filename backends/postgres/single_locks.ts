import type { AcquireAnswer, AcquireRequest, Target } from "../../core/backend.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { BUSY } from "./answers.ts";
import { translate } from "./errors.ts";
import { type Held, holderOf, rowsOf, stampOf } from "./held_locks.ts";
import type { Session } from "./session.ts";
import { type LockParts, undo } from "./session_parts.ts";

/** Session locks that are taken and freed by a statement each, whatever is wanted. */
export class SingleLocks {
  readonly #parts: LockParts;

  constructor(parts: LockParts) {
    this.#parts = parts;
  }

  /** Takes a name if it is free. */
  async take(request: AcquireRequest): Promise<AcquireAnswer> {
    const { sql, keys, sessions, queueing, held } = this.#parts;
    const what = () => `acquire lock ${JSON.stringify(request.name)}`;
    const present = held.find(request.name);
    if (present) return await this.#join(what, present, request);
    const queued = queueing?.take(request.name);
    if (queued === "waiting") return BUSY;
    const key = keys.of(request.name);
    if (queued) return await this.#takeOver(what, queued, key, request);
    const session = await sessions.withRoom(what);
    let granted = false;
    try {
      const [row] = await session.send(request.shared ? sql.acquireShared : sql.acquire, [key]);
      if (row.token === null) return BUSY;
      if (session.ended) throw session.ended;
      granted = true;
      return held.enter(session, key, request, stampOf(row));
    } catch (error) {
      await undo(session, request.shared ? sql.releaseShared : sql.release, key);
      throw translate(what(), error);
    } finally {
      if (!granted) sessions.makeRoom(session);
    }
  }

  /** A lock that was waited for in the server's queue: this answer also says that its session is still there. */
  async #takeOver(what: () => string, session: Session, key: string, request: AcquireRequest): Promise<AcquireAnswer> {
    const { sql, held } = this.#parts;
    try {
      const [row] = request.shared ? await session.send(sql.share, [key]) : await session.send(sql.token);
      return held.enter(session, key, request, stampOf(row));
    } catch (error) {
      await session.close();
      throw translate(what(), error);
    }
  }

  /** A lock of this process: its own again after a lost answer, shared, or busy. */
  async #join(what: () => string, present: Held, request: AcquireRequest): Promise<AcquireAnswer> {
    const own = holderOf(present, request.owner);
    if (own) return { granted: true, row: own.row, lifeline: present.session };
    if (!present.shared || !request.shared) return { granted: false, holder: rowsOf(present)[0] };
    const { sql, held } = this.#parts;
    try {
      const [row] = await present.session.send(sql.token);
      return held.admit(present, request, stampOf(row));
    } catch (error) {
      throw translate(what(), error);
    }
  }

  /** Frees a name if its owner holds it. */
  async free({ name, owner }: Target): Promise<boolean> {
    if (owner === null) {
      throw new UnsupportedError('Cannot release by name in "session" mode: it has no row; want "lease" or "hybrid"');
    }
    const { sql, sessions, queueing, held } = this.#parts;
    const present = held.find(name);
    const own = present && holderOf(present, owner);
    if (present === undefined || own === undefined) return false;
    const { holders, session, shared, key } = present;
    if (holders.length > 1) return holders.splice(holders.indexOf(own), 1).length > 0;
    try {
      const [row] = await session.send(shared ? sql.releaseShared : sql.release, [key]);
      return row.freed === "true";
    } catch (error) {
      if (session.ended) return false; // it went with the session
      await session.close(); // nobody can say what it still holds
      throw translate(`release lock ${JSON.stringify(name)}`, error);
    } finally {
      held.remove(name);
      sessions.makeRoom(session);
      queueing?.putBack(session);
    }
  }
}
