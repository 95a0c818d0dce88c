import type { AcquireAnswer, AcquireRequest, LockRef, LockRow, RenewRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { BUSY, type BusyAnswer, grantedRow, namesOf, ownerText, waitedFor } from "../../../core/util/requests.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import type { Liveness, LivenessLock } from "../../sessions/liveness.ts";
import { type Entry, GRACE_US, hasToExtend, isPlain, isUnconfirmed, SHARED_LIMIT } from "../../shared/line.ts";
import { busyAnswer, rowOf } from "../../shared/line_answers.ts";
import type { LockTable } from "../rows/lock_table.ts";
import { renewParameters, type Row, textOf, toLockRow } from "../rows/rows.ts";
import type { Notice } from "../wakeup/listener.ts";
import { pauseOf, type Waiters } from "../wakeup/waiters.ts";
import type { ServerClock } from "./server_clock.ts";

/** How often a request is sent whose liveness lock is gone, or whose row was deleted meanwhile. */
const MAX_ATTEMPTS = 5;
/** A waiter asks the server when more than this share of its lease may be over by the time that it hears of the grant. */
const BELIEVED_SHARE = 0.1;
/** Waiters that are remembered. */
const MAX_REMEMBERED = 16_384;

/** Serves the names that have a queue, or holders that admit others. */
export class Queue {
  readonly #table: LockTable;
  readonly #clock: ServerClock;
  readonly #liveness: Liveness | undefined;
  /** Absent where this process cannot be notified of its grants. */
  readonly #waiters: Waiters | undefined;
  /** The waiters of this process in the queue, with the sessions that carry their locks in `hybrid` mode. */
  readonly #places = new LruMap<string, { readonly liveness: LivenessLock | undefined }>(MAX_REMEMBERED);
  /** The grants that waiters of this process were told of. */
  readonly #grants = new LruMap<string, Notice>(MAX_REMEMBERED);
  /** Names that were left with a holder or waiters when this process last released or gave up one of them. */
  readonly #awaited = new LruMap<string, true>(MAX_REMEMBERED);

  constructor(table: LockTable, clock: ServerClock, liveness: Liveness | undefined, waiters: Waiters | undefined) {
    this.#table = table;
    this.#clock = clock;
    this.#liveness = liveness;
    this.#waiters = waiters;
  }

  /** Keeps the liveness lock of a request; nothing does of one that is to outlive its holder's session. */
  livenessFor({ keep }: { readonly keep?: number | undefined }): Liveness | undefined {
    return keep === undefined ? this.#liveness : undefined;
  }

  /** Whether the server of the rows has the session of the liveness lock; a session that it lacks is ended. */
  async isAlive(requests: readonly AcquireRequest[], { key, session }: LivenessLock): Promise<boolean> {
    const [row] = await this.#table.send(() => `acquire ${namesOf(requests)}`, "isGone", [key]);
    if (row.gone === "true") session.end(new BackendError("Cannot go on: the server has no such session"));
    return session.ended === undefined;
  }

  /** Notes what a waiter of this process is told. The next watches over the holder. */
  note(notice: Notice): void {
    if (notice.token === null) this.#waiters?.pollWithin(pauseOf(this.#liveness !== undefined));
    else if (notice.token !== undefined) this.#grants.set(notice.owner, notice);
  }

  /** Whether this owner waits in the queue. */
  has(owner: string): boolean {
    return this.#places.has(owner);
  }

  /** Whether a release has to look at all entries of the name: at those of any owner, or for a waiter. */
  concerns({ owner }: LockRef): boolean {
    return typeof owner !== "string" || this.#places.has(owner);
  }

  /** Whether a waiter is likely to be there when this process releases the name. */
  expectsWaiter(name: string): boolean {
    return this.#awaited.has(name);
  }

  /** Notes that no client waited when this process released the name. */
  expectNoWaiter(name: string): void {
    this.#awaited.delete(name);
  }

  /** Removes what has expired; returns the answer that tells who holds the name then, if any client holds or awaits it. */
  async busyAnswer(request: AcquireRequest): Promise<BusyAnswer | undefined> {
    if (await this.#table.attempt([request], "leave", [request.name, ""]) === undefined) return BUSY;
    const [row] = await this.#table.send(() => `acquire ${namesOf([request])}`, "look", [request.name, "", "1"]);
    return row.entries === null && row.waiters === "0" ? undefined : busy(request, row);
  }

  /** Acquires the name, or enters the queue if the request has a window. */
  async acquire(request: AcquireRequest): Promise<AcquireAnswer> {
    const { owner, window, steal } = request;
    const grant = this.#grants.get(owner);
    if (grant) {
      this.#grants.delete(owner);
      const granted = this.#believe(request, grant) ?? await this.#confirm(request);
      if (granted) return granted;
    }
    if (!steal && (window === undefined || this.#places.has(owner))) {
      const answer = await this.#look(request);
      if (answer) return answer;
    } else if (isPlain(request)) {
      const answer = await this.#enter(request);
      if (answer) return answer;
    }
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const answer = await this.#join(request);
      if (answer) return answer;
    }
    this.#table.discard(); // the connections and the session may be on different servers
    throw new BackendError(`Cannot acquire ${namesOf([request])}: its row or its session keeps vanishing`, {
      retryable: true,
    });
  }

  /** The session that carries what an owner was granted; `undefined` when it has none, or `null` when it has ended. */
  #carrierOf(request: AcquireRequest): LivenessLock | null | undefined {
    const liveness = this.#places.get(request.owner)?.liveness;
    return liveness?.session.ended || (this.livenessFor(request) && !liveness) ? null : liveness;
  }

  /**
   * The answer when another client's release has granted the lock for its whole duration. It counts from the grant, by
   * the latest that the server's clock may show. Returns `undefined` when the server has to be asked: the grant is for the
   * grace alone, much of the lease may be over, or the server's clock was set.
   */
  #believe(request: AcquireRequest, { token, since, waiters }: Notice): AcquireAnswer | undefined {
    const { owner, duration } = request;
    const liveness = this.#carrierOf(request);
    const now = this.#clock.latest();
    if (token == null || since === undefined || duration === null || now === undefined) return undefined;
    const isWhole = liveness !== undefined || (duration <= GRACE_US && this.#places.has(owner));
    if (!isWhole || liveness === null) return undefined;
    if (now < since || now > since + duration * BELIEVED_SHARE) return undefined;
    const granted = grantedRow(request, BigInt(token), since, liveness?.session.id);
    const row = { ...granted, now, limit: request.limit, waiters: waiters ?? 0 };
    return this.#granted(owner, row, liveness);
  }

  /**
   * Extends a lock that another client's release has granted for the grace to its whole duration, durably: the grant need
   * not have reached the disk. Returns `undefined` when it is gone. Behind a locked row the waiter asks again soon.
   */
  async #confirm(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { owner, name, duration } = request;
    const liveness = this.#carrierOf(request);
    if (liveness === null) return undefined;
    const renewal: RenewRequest = { name, owner, from: "now", add: duration };
    const first = await this.#table.attempt([request], "renew", renewParameters(renewal));
    const other = first?.length === 0 ? await this.#table.attempt([request], "extend", renewParameters(renewal)) : [];
    if (first === undefined || other === undefined) return { ...BUSY, position: 1, kept: false };
    const row = first.length > 0 ? toLockRow(first[0]) : rowOfFurther(name, other);
    return row && this.#granted(owner, row, liveness);
  }

  #forget(owner: string): void {
    this.#places.delete(owner);
    this.#grants.delete(owner);
  }

  /** The answer, if nothing has to be written for it. */
  async #look(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner, limit, window } = request;
    const what = () => `acquire ${namesOf([request])}`;
    const askedAt = monotonic();
    const [row] = await this.#table.send(what, "look", [
      name,
      owner,
      String(Math.min(limit, SHARED_LIMIT)),
    ]);
    this.#clock.note(askedAt, row.now);
    const mine = entriesIn(row).find((entry) => entry.owner === owner);
    if (mine === undefined) return window === undefined && row.admits === "false" ? busy(request, row) : undefined;
    const place = this.#places.get(owner);
    if (mine.token !== undefined) {
      return place || !this.livenessFor(request) ? await this.#answer(request, row, mine, place?.liveness) : undefined;
    }
    const isKept = mine.listener === (this.#waiters?.channelFor(name) ?? null);
    if (row.due === "true" || !isKept || hasToExtend(mine, request, Number(row.now))) return undefined;
    return await this.#answer(request, row, mine, place?.liveness);
  }

  /** Enters the queue of a name with one exclusive holder; returns `undefined` when it is not like that. */
  async #enter(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner, duration, lockedBy, lockProcess, metadata, window } = request;
    const liveness = await this.livenessFor(request)?.lock();
    const listener = this.#waiters?.channelFor(name) ?? null;
    const askedAt = monotonic();
    const rows = await this.#table.attempt([request], "enter", [
      ...[name, owner, textOf(duration), lockedBy, textOf(lockProcess), metadata, String(window)],
      ...[liveness?.key ?? null, liveness?.session.id ?? null, listener, String(waitedFor(request))],
    ]);
    if (rows === undefined) return BUSY;
    const [row] = rows;
    if (row === undefined) return undefined;
    this.#clock.note(askedAt, row.now);
    return this.#waits(owner, { granted: false, holder: toLockRow(row) }, row, liveness, listener !== null);
  }

  /** Sends the request; returns `undefined` when it has to be sent again. */
  async #join(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner, duration, limit, lockedBy, lockProcess, metadata, window, steal } = request;
    const what = () => `acquire ${namesOf([request])}`;
    const liveness = await this.livenessFor(request)?.lock();
    const listener = window === undefined ? null : this.#waiters?.channelFor(name) ?? null;
    const askedAt = monotonic();
    const rows = await this.#table.attempt([request], "join", [
      ...[name, owner, textOf(duration), String(Math.min(limit, SHARED_LIMIT)), lockedBy, textOf(lockProcess)],
      ...[metadata, textOf(window ?? null), String(steal === true), liveness?.key ?? null],
      ...[liveness?.session.id ?? null, listener, String(waitedFor(request))],
    ]);
    if (rows === undefined) return BUSY;
    const [row] = rows;
    if (row === undefined) return undefined;
    if (row.present === "0") {
      await this.#table.send(what, "insertFree", [name]);
      return undefined;
    }
    this.#clock.note(askedAt, row.now);
    const mine = entriesIn(row).find((entry) => entry.owner === owner);
    if (mine) return await this.#answer(request, row, mine, liveness);
    if (liveness && !await this.isAlive([request], liveness)) return undefined;
    return await this.#look(request);
  }

  /** The answer to a request that holds the lock or waits for it; `undefined` when it has lapsed meanwhile. */
  async #answer(
    request: AcquireRequest,
    row: Row,
    mine: Entry,
    liveness: LivenessLock | undefined,
  ): Promise<AcquireAnswer | undefined> {
    const { name, owner } = request;
    if ((mine.liveness ?? undefined) !== liveness?.key) { // of a session that has ended: free once the server sees that
      this.#forget(owner);
      return await this.#table.attempt([request], "leave", [name, owner]) ? undefined : BUSY;
    }
    if (mine.token === undefined) {
      const isKept = mine.listener != null && mine.listener === this.#waiters?.channelFor(name);
      return this.#waits(owner, busy(request, row), row, liveness, isKept);
    }
    if (isUnconfirmed(mine, request)) {
      this.#places.set(owner, { liveness });
      return await this.#confirm(request);
    }
    return this.#granted(owner, rowOf(name, mine, Number(row.waiters), Number(row.now)), liveness);
  }

  /** The answer to a waiter. It may be the next at once, and watches over the holder then. */
  #waits(owner: string, held: BusyAnswer, row: Row, liveness: LivenessLock | undefined, kept: boolean): AcquireAnswer {
    const position = Number(row.position);
    this.#places.set(owner, { liveness });
    this.#waiters?.pollWithin(pauseOf(this.#liveness !== undefined, position));
    return { ...held, position, kept };
  }

  #granted(owner: string, row: LockRow, liveness?: LivenessLock): AcquireAnswer {
    this.#forget(owner);
    if (liveness === undefined) return { granted: true, row };
    return { granted: true, row: { ...row, session: liveness.session.id }, session: liveness.session };
  }

  /** Removes holders, or a waiter by its owner; returns whether a holder was removed. */
  async release(target: LockRef): Promise<boolean> {
    const { name, owner } = target;
    const what = () => `release ${namesOf([target])}`;
    if (typeof owner === "string") this.#forget(owner);
    const [row] = await this.#table.send(what, "leave", [name, ownerText(owner)], [target]);
    if (row === undefined) return false;
    if (row.left !== "0") this.#awaited.set(name, true);
    return Number(row.released) > 0;
  }

  /** Removes the holders of a name, or those that have expired, and serves the waiters; returns how many. */
  async clean(name: string, scope: "expired" | "all"): Promise<number> {
    const what = () => `clean up lock ${JSON.stringify(name)}`;
    const whose = scope === "all" ? null : "";
    const [row] = await this.#table.whenUnlocked(() => this.#table.send(what, "leave", [name, whose]));
    return Number(row?.cleaned ?? 0);
  }

  /** Extends holders beyond the first; returns the first of them. */
  async renew(request: RenewRequest, table: LockTable): Promise<LockRow | undefined> {
    const rows = await table.send(() => `renew ${namesOf([request])}`, "extend", renewParameters(request));
    return rowOfFurther(request.name, rows);
  }
}

/** The holder beyond the first that was extended. */
function rowOfFurther(name: string, [row]: readonly Row[]): LockRow | undefined {
  return row && rowOf(name, JSON.parse(row.entry!), Number(row.waiters), Number(row.now));
}

function entriesIn({ entries }: Row): Entry[] {
  return entries === null ? [] : JSON.parse(entries);
}

function busy({ name }: AcquireRequest, row: Row): BusyAnswer {
  const holders = entriesIn(row).filter(({ token }) => token !== undefined);
  return busyAnswer(holders, Number(row.waiters), name, Number(row.now));
}
