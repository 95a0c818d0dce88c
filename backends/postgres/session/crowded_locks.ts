import type { AcquireAnswer, AcquireRequest, LockRef } from "../../../core/backend.ts";
import { BUSY } from "../rows/rows.ts";
import { translate } from "../errors.ts";
import { type Held, stampOf } from "./held_locks.ts";
import type { Session } from "./session.ts";
import { type LockParts, undo } from "./session_parts.ts";
import { DONE } from "./session_statements.ts";
import { namesOf } from "../../../core/util/requests.ts";

/** Keys as the text of an array. */
function arrayOf(keys: readonly string[]): string {
  return `{${keys.join(",")}}`;
}

/** Exclusive session locks that are taken and freed by the hundred: one statement for all on one session. */
export class CrowdedLocks {
  readonly #parts: LockParts;

  constructor(parts: LockParts) {
    this.#parts = parts;
  }

  /** Takes each of different names that is free, none of which this process holds. */
  async take(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const what = () => `acquire ${namesOf(requests)}`;
    let first = 0;
    const shares = await this.#parts.sessions.withRoomFor(requests.length, what);
    const answers = shares.map(({ session, places }) =>
      this.#takeOn(what, session, requests.slice(first, first += places))
    );
    return (await Promise.all(answers)).flat();
  }

  async #takeOn(what: () => string, session: Session, requests: AcquireRequest[]): Promise<AcquireAnswer[]> {
    const { sql, sessions, held, keys } = this.#parts;
    const wanted = requests.map(({ name }) => keys.of(name));
    let free = requests.length;
    try {
      const [row] = await session.send(sql.acquireEach, [arrayOf(wanted)]);
      if (session.ended) throw session.ended;
      if (row.token === null) return requests.map(() => BUSY);
      const stamp = stampOf(row);
      return requests.map((request, index) => {
        if (row.taken![index] !== DONE) return BUSY;
        free--;
        return held.enter(session, wanted[index], request, stamp);
      });
    } catch (error) {
      await undo(session, sql.releaseEach, arrayOf(wanted));
      throw translate(what(), error);
    } finally {
      sessions.makeRoom(session, free);
    }
  }

  /** Frees different names that this process holds. */
  async free(targets: readonly LockRef[]): Promise<boolean[]> {
    const present = targets.map(({ name }) => this.#parts.held.known(name)!);
    const [{ session }] = present;
    if (present.every((held) => held.session === session)) return await this.#freeOn(session, present);
    const crowds = Map.groupBy(present, ({ session }) => session);
    const freed = new Map<Held, boolean>();
    await Promise.all([...crowds].map(async ([session, some]) => {
      const answers = await this.#freeOn(session, some);
      some.forEach((held, index) => freed.set(held, answers[index]));
    }));
    return present.map((held) => freed.get(held)!);
  }

  async #freeOn(session: Session, present: readonly Held[]): Promise<boolean[]> {
    const { sql, sessions, held } = this.#parts;
    try {
      const [row] = await session.send(sql.releaseEach, [arrayOf(present.map(({ key }) => key))]);
      return present.map((_, index) => row.freed![index] === DONE);
    } catch (error) {
      if (session.ended) return present.map(() => false); // they went with the session
      await session.close(); // nobody can say what it still holds
      throw translate(`release ${namesOf(present)}`, error);
    } finally {
      for (const { name } of present) held.remove(name);
      sessions.makeRoom(session, present.length);
    }
  }
}
