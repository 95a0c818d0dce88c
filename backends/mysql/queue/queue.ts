import type {
  AcquireAnswer,
  AcquireRequest,
  LockRef,
  LockRow,
  NextHolder,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { grantedRow } from "../../../core/util/requests.ts";
import { changeOwner, type Entry, entryOf, isKept, isLive, isMeant, join, leave } from "../../shared/line.ts";
import { answerTo, renewal } from "../../shared/line_answers.ts";
import type { LockedRows } from "../rows/locked_rows.ts";
import type { LockTable } from "../rows/lock_table.ts";
import { LineStore, LOST_SESSION, type Sending } from "./line_store.ts";
import { SeenNames } from "./seen_names.ts";
import type { StoredLine } from "./stored_line.ts";

/**
 * Serves the names that have a queue, or holders that admit others: reads the row, computes what becomes of the line,
 * and stores it unless the row has changed meanwhile.
 */
export class Queue {
  readonly #table: LockTable;
  readonly #lines: LineStore;
  /** What was last read of names. */
  readonly seen = new SeenNames();

  constructor(table: LockTable, lockedRows: LockedRows, isHybrid: boolean) {
    this.#table = table;
    this.#lines = new LineStore(table, lockedRows, isHybrid, (name, line) => this.seen.note(name, line));
  }

  /** Acquires the name, or stands in its line if the request has a window. */
  async acquire(sending: Sending, request: AcquireRequest): Promise<AcquireAnswer | typeof LOST_SESSION> {
    const { name, owner, window, repeated = false } = request;
    const { liveness } = sending;
    const carrier = liveness && { liveness: liveness.key, session: liveness.session.id };
    const isStale = (entry: Entry) => entry.owner === owner && (entry.liveness ?? undefined) !== liveness?.key;
    const busy = ({ line, now }: StoredLine): AcquireAnswer => {
      const answer = answerTo(request, line, undefined, now);
      return answer.granted || window === undefined ? answer : { ...answer, position: 1 }; // it asks again soon
    };
    const confirmed = await this.#confirm(sending, request);
    if (confirmed) return confirmed;
    if (window !== undefined && !request.steal && !repeated) {
      const isWaiting = this.seen.isWaiting(request);
      // Where that is not possible, the line is not changed, and what is read of it tells why.
      if (!isWaiting || this.seen.hasToExtend(request)) {
        await this.#lines.write(sending, name, (noWait) => {
          return isWaiting
            ? this.#table.sql.stay(request, noWait)
            : this.#table.sql.enter(request, entryOf(request, 0, carrier), noWait);
        });
      }
    }
    const answer = await this.#lines.change(sending, name, ({ line, now }) => {
      const own = line.entries.some(isStale) // what an ended session of this process carried is lost
        ? { token: line.token, entries: line.entries.filter((entry) => !isStale(entry)) }
        : line;
      const joined = join(own, request, now, carrier);
      const answer = answerTo(request, joined.line, joined.mine, now, liveness?.session);
      return { line: joined.line === own ? line : joined.line, result: answer };
    }, repeated ? undefined : busy);
    if (answer !== LOST_SESSION) this.seen.noteAnswer(request, answer);
    return answer;
  }

  /** Extends what a look has found granted, with one statement; returns nothing when that is gone, or not short. */
  async #confirm(sending: Sending, request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const grant = this.seen.grantOf(request);
    if (grant === undefined) return undefined;
    const { name, limit } = request;
    const { liveness } = sending;
    const written = await this.#lines.write(
      sending,
      name,
      (noWait) => this.#table.sql.confirm(request, noWait, liveness),
    );
    if (!written?.affectedRows) return undefined;
    const { token, createdAt, waiters } = grant;
    const granted = grantedRow(request, token, Number(written.insertId), liveness?.session.id);
    const row = { ...granted, createdAt, limit, waiters };
    const answer: AcquireAnswer = { granted: true, row, ...(liveness ? { session: liveness.session } : {}) };
    this.seen.noteAnswer(request, answer);
    return answer;
  }

  /**
   * Removes holders, or a waiter by its owner; returns whether a holder was removed that was live. One whose session has
   * ended is removed, too: to clients in `lease` mode it still counts.
   */
  async release(sending: Sending, target: LockRef): Promise<boolean> {
    const { owner, keep } = target;
    const isGone = isMeant(target);
    const released = await this.#lines.change(sending, target.name, ({ line, dead, now }) => {
      const gone = line.entries.filter((entry) => isLive(entry, now) && isGone(entry));
      if (gone.length === 0 && !dead.some(isGone)) {
        return { line, result: keep !== undefined && line.entries.some(isKept(String(owner), now)) };
      }
      return { line: leave(line, now, isGone, keep), result: gone.some(({ token }) => token !== undefined) };
    });
    return released === true;
  }

  /** Gives an exclusive lock with a queue to the next waiter, without a look at the row before, if it wants the same. */
  async handOff(sending: Sending, { name, owner }: LockRef): Promise<boolean> {
    if (typeof owner !== "string") return false;
    const written = await this.#lines.write(
      sending,
      name,
      (noWait) => this.#table.sql.handOff({ name, owner }, noWait),
    );
    return (written?.affectedRows ?? 0) > 0;
  }

  /** Gives a holder's lock to another owner. */
  async adopt(sending: Sending, { name, owner }: OwnedLock, next: NextHolder): Promise<void> {
    await this.#lines.change(sending, name, ({ line, now }) => {
      return { line: changeOwner(line, now, owner, next), result: undefined };
    });
  }

  /** Extends holders; returns the first of them. */
  async renew(sending: Sending, request: RenewRequest): Promise<LockRow | undefined> {
    const send: LockTable["run"] = (what, sql, repeats) => this.#table.renew(what, sql, repeats);
    const row = await this.#lines.change({ ...sending, send }, request.name, ({ line, now }) => {
      const renewed = renewal(line, request, now);
      return { line: renewed.line, result: renewed.row };
    });
    return row === LOST_SESSION ? undefined : row;
  }

  /** Removes the holders of a name, or those that have expired, and serves its waiters; returns how many. */
  async clean(sending: Sending, name: string, scope: "expired" | "all"): Promise<number> {
    const cleaned = await this.#lines.change(sending, name, ({ line, dead, now }) => {
      const isGone = (entry: Entry) => entry.token !== undefined && (scope === "all" || !isLive(entry, now));
      const gone = line.entries.filter(isGone).length + dead.filter(({ token }) => token !== undefined).length;
      const isWhole = gone === 0 && dead.length === 0 && line.entries.every((entry) => isLive(entry, now));
      return { line: isWhole ? line : leave(line, now, isGone), result: gone };
    });
    return cleaned === LOST_SESSION ? 0 : cleaned;
  }

  /** Whether a name has neither holders nor waiters once those that have expired are removed. */
  async isEmpty(sending: Sending, name: string): Promise<boolean> {
    await this.clean(sending, name, "expired");
    const { line, now } = await this.#lines.read(sending, name);
    return !line.entries.some((entry) => isLive(entry, now));
  }
}
