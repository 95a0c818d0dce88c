import type { AcquireAnswer, AcquireRequest, LockRef, LockRow, RenewRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { namesOf, ownerText } from "../../../core/util/requests.ts";
import type { Liveness, LivenessLock } from "../../sessions/liveness.ts";
import { type Entry, hasToExtend, isPlain, isUnconfirmed, SHARED_LIMIT } from "../../shared/line.ts";
import { busyAnswer, rowOf } from "../../shared/line_answers.ts";
import type { LockTable } from "../rows/lock_table.ts";
import { BUSY, type Parameters, renewParameters, type Row, textOf, toLockRow } from "../rows/rows.ts";
import { grantsChannel } from "../wakeup/listener.ts";
import type { Waiters } from "../wakeup/waiters.ts";

/** How often a request is sent whose liveness lock is gone, or whose row was deleted meanwhile. */
const MAX_ATTEMPTS = 5;
/** Waiters and holders that are remembered. */
const MAX_REMEMBERED = 16_384;

/** Serves the names that have a queue, or holders that admit others. */
export class Queue {
  readonly #table: LockTable;
  readonly #liveness: Liveness | undefined;
  /** Absent where this process cannot be notified of its grants. */
  readonly #waiters: Waiters | undefined;
  /** The waiters of this process in the queue, with the sessions that carry their locks in `hybrid` mode. */
  readonly #places = new LruMap<string, { readonly liveness: LivenessLock | undefined }>(MAX_REMEMBERED);
  /** The owners that a notification says were granted the lock. */
  readonly #notified = new LruMap<string, true>(MAX_REMEMBERED);
  /** The owners that were granted a lock of a name with a queue. */
  readonly #queued = new LruMap<string, true>(MAX_REMEMBERED);

  constructor(table: LockTable, liveness: Liveness | undefined, waiters: Waiters | undefined) {
    this.#table = table;
    this.#liveness = liveness;
    this.#waiters = waiters;
  }

  /** Keeps the liveness lock of a request; nothing does of one that is to outlive its holder's session. */
  livenessFor({ keep }: { readonly keep?: number | undefined }): Liveness | undefined {
    return keep === undefined ? this.#liveness : undefined;
  }

  /** Notes that another client's release has granted a name to a waiter of this process. */
  noteGrant(owner: string): void {
    this.#notified.set(owner, true);
  }

  /** Whether this owner waits in the queue. */
  has(owner: string): boolean {
    return this.#places.has(owner);
  }

  /** Whether an entry may be in a queue, so a release looks there at first. */
  mayHave({ owner }: LockRef): boolean {
    return typeof owner !== "string" || this.#queued.has(owner) || this.#places.has(owner);
  }

  /** Removes what has expired; returns whether the name of a request has neither holders nor waiters then. */
  async isEmpty(request: AcquireRequest): Promise<boolean> {
    if (await this.#table.attempt([request], "leave", [request.name, ""]) === undefined) return false;
    const [row] = await this.#table.send(() => `acquire ${namesOf([request])}`, "look", [request.name, "", "1"]);
    return row.entries === null && row.waiters === "0";
  }

  /** Acquires the name, or enters the queue if the request has a window. */
  async acquire(request: AcquireRequest): Promise<AcquireAnswer> {
    const { owner, window, steal } = request;
    const confirmed = this.#notified.has(owner) ? await this.#confirm(request) : undefined;
    if (confirmed) return confirmed;
    if (!steal && (window === undefined || this.#places.has(owner))) {
      const answer = await this.#look(request);
      if (answer) return answer;
    } else if (isPlain(request)) {
      const answer = await this.#append(request);
      if (answer) return answer;
    }
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const answer = await this.#join(request);
      if (answer) return answer;
    }
    throw new BackendError(`Cannot acquire ${namesOf([request])}: its row or its session keeps vanishing`, {
      retryable: true,
    });
  }

  /**
   * Extends a lock that another client's release has granted for the grace to its whole duration, durably: the grant need
   * not have reached the disk. Returns `undefined` when it is gone.
   */
  async #confirm(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { owner, name, duration } = request;
    const liveness = this.#places.get(owner)?.liveness;
    this.#notified.delete(owner);
    if (liveness?.session.ended || (this.livenessFor(request) && !liveness)) return undefined;
    const renewal: RenewRequest = { name, owner, from: "now", add: duration };
    const rows = await this.#table.attempt([request], "renew", renewParameters(renewal));
    if (rows === undefined) return BUSY;
    const row = rows.length > 0 ? toLockRow(rows[0]) : await this.renew(renewal, this.#table);
    return row && this.#granted(owner, row, liveness);
  }

  /** Where this process is notified of its grants, and whether it listens there. */
  #listening(): Parameters {
    return this.#waiters ? [grantsChannel(), String(this.#waiters.isListening)] : [null, "false"];
  }

  #forget(owner: string): void {
    this.#places.delete(owner);
    this.#notified.delete(owner);
  }

  /** The answer, if nothing has to be written for it. */
  async #look(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner, limit, window } = request;
    const what = () => `acquire ${namesOf([request])}`;
    const [row] = await this.#table.send(what, "look", [
      name,
      owner,
      String(Math.min(limit, SHARED_LIMIT)),
    ]);
    const mine = entriesIn(row).find((entry) => entry.owner === owner);
    if (mine === undefined) return window === undefined && row.admits === "false" ? busy(request, row) : undefined;
    const place = this.#places.get(owner);
    if (mine.token !== undefined) {
      return place || !this.livenessFor(request) ? await this.#answer(request, row, mine, place?.liveness) : undefined;
    }
    if (row.due === "true" || hasToExtend(mine, request, Number(row.now))) return undefined;
    return await this.#answer(request, row, mine, place?.liveness);
  }

  /** Enters the queue of a name with one exclusive holder; returns `undefined` when it is not like that. */
  async #append(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner, duration, lockedBy, lockProcess, metadata, window } = request;
    const liveness = await this.livenessFor(request)?.lock();
    const rows = await this.#table.attempt([request], "append", [
      ...[name, owner, textOf(duration), lockedBy, textOf(lockProcess), metadata, String(window)],
      ...[liveness?.key ?? null, liveness?.session.id ?? null, ...this.#listening()],
    ]);
    if (rows === undefined) return BUSY;
    const [row] = rows;
    if (row === undefined) return undefined;
    this.#places.set(owner, { liveness });
    return { granted: false, holder: toLockRow(row), position: Number(row.position) };
  }

  /** Sends the request; returns `undefined` when it has to be sent again. */
  async #join(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner, duration, limit, lockedBy, lockProcess, metadata, window, steal } = request;
    const what = () => `acquire ${namesOf([request])}`;
    const liveness = await this.livenessFor(request)?.lock();
    const rows = await this.#table.attempt([request], "join", [
      ...[name, owner, textOf(duration), String(Math.min(limit, SHARED_LIMIT)), lockedBy, textOf(lockProcess)],
      ...[metadata, textOf(window ?? null), String(steal === true), liveness?.key ?? null],
      ...[liveness?.session.id ?? null, ...(window === undefined ? [null, "false"] : this.#listening())],
    ]);
    if (rows === undefined) return BUSY;
    const [row] = rows;
    if (row === undefined) return undefined;
    if (row.present === "0") {
      await this.#table.send(what, "insertFree", [name]);
      return undefined;
    }
    const mine = entriesIn(row).find((entry) => entry.owner === owner);
    if (mine) return await this.#answer(request, row, mine, liveness);
    if (liveness && row.entries !== null) { // the server did not find the session
      await this.#table.pause(1);
      return undefined;
    }
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
      this.#places.set(owner, { liveness });
      return busy(request, row, Number(row.position));
    }
    if (isUnconfirmed(mine, request)) {
      this.#places.set(owner, { liveness });
      return await this.#confirm(request);
    }
    return this.#granted(owner, rowOf(name, mine, Number(row.waiters), Number(row.now)), liveness);
  }

  #granted(owner: string, row: LockRow, liveness?: LivenessLock): AcquireAnswer {
    this.#forget(owner);
    this.#queued.set(owner, true);
    if (liveness === undefined) return { granted: true, row };
    return { granted: true, row: { ...row, session: liveness.session.id }, session: liveness.session };
  }

  /** Removes holders, or a waiter by its owner; returns whether a holder was removed. */
  async release(target: LockRef): Promise<boolean> {
    const { name, owner } = target;
    const what = () => `release ${namesOf([target])}`;
    if (typeof owner === "string") {
      const handed = this.#places.has(owner) ? [] : await this.#table.send(what, "handOff", [name, owner], [target]);
      if (handed.length > 0) return true;
      this.#forget(owner);
    }
    const [row] = await this.#table.send(what, "leave", [name, ownerText(owner)], [target]);
    return row !== undefined && Number(row.released) > 0;
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
    const parameters = renewParameters(request);
    const [row] = await table.send(() => `renew ${namesOf([request])}`, "extend", parameters);
    return row && rowOf(request.name, JSON.parse(row.entry!), Number(row.waiters), Number(row.now));
  }
}

function entriesIn({ entries }: Row): Entry[] {
  return entries === null ? [] : JSON.parse(entries);
}

function busy({ name }: AcquireRequest, row: Row, position?: number): AcquireAnswer {
  const holders = entriesIn(row).filter(({ token }) => token !== undefined);
  return busyAnswer(holders, Number(row.waiters), name, Number(row.now), position);
}
