import type { AcquireAnswer, AcquireRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { BUSY, grantedRow, namesOf } from "../../../core/util/requests.ts";
import type { Liveness, LivenessLock } from "../../sessions/liveness.ts";
import { isPlain, isUnconfirmed } from "../../shared/line.ts";
import { isOneHeld, isPassingConflict, isRowLocked } from "../errors.ts";
import { LOST_SESSION, type Sending } from "../queue/line_store.ts";
import { HELD, isSessionAlive, SESSION_GONE } from "./acquire_statements.ts";
import type { LockTable } from "./lock_table.ts";
import type { NameHints } from "./name_hints.ts";
import type { RowParts } from "./row_parts.ts";
import { chunks, type OwnedRow, sorted } from "./rows.ts";

/** How often a name is tried that is neither free nor held when looked at: it changes hands meanwhile. */
const ROUNDS = 5;

/** Requests that are not answered yet. */
export interface UnderWay {
  readonly requests: readonly AcquireRequest[];
  readonly outcome: Promise<AcquireAnswer[]>;
}

/** Acquires locks: one in a statement, several in a batch. */
export class Acquirer {
  readonly #parts: RowParts;
  readonly #table: LockTable;
  readonly #hints: NameHints;
  readonly #liveness: Liveness | undefined;
  readonly #underWay = new Set<UnderWay>();

  /** @param liveness The liveness lock, in `hybrid` mode. */
  constructor(parts: RowParts, liveness: Liveness | undefined) {
    this.#parts = parts;
    this.#table = parts.table;
    this.#hints = parts.hints;
    this.#liveness = liveness;
  }

  /** The requests that are not answered yet. */
  get underWay(): readonly UnderWay[] {
    return [...this.#underWay];
  }

  /** Makes one atomic attempt for each request; with `allOrNothing` for all of them together. */
  acquire(requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    const { unknown } = this.#parts;
    const noted = (error: unknown) => {
      unknown.note(requests);
      throw error;
    };
    const acquire = () => this.#acquire(what, requests, allOrNothing).catch(noted);
    const outcome = unknown.settle(what, requests, true).then(acquire);
    const underWay = { requests, outcome };
    this.#underWay.add(underWay);
    const over = () => void this.#underWay.delete(underWay);
    outcome.then(over, over);
    return outcome;
  }

  async #acquire(what: string, requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const server = await this.#table.ready(what);
    for (let round = 0; round < ROUNDS; round++) {
      const sending = { what, server, liveness: await this.#liveness?.lock() };
      const answers = requests.length === 1
        ? await this.#acquireOne(sending, requests[0])
        : await this.#acquireSeveral(sending, requests, allOrNothing);
      if (answers !== undefined) return answers;
      // A new session that does not exist there either is on another server than the rows: the address has moved.
      if (round > 0) this.#table.discard();
    }
    throw new BackendError(`Cannot ${what}: the server ended the session that keeps the locks`, { retryable: true });
  }

  /** Returns nothing when the session of the liveness lock has ended, or the row names an earlier one. */
  async #acquireSeveral(
    sending: Sending,
    requests: readonly AcquireRequest[],
    allOrNothing: boolean,
  ): Promise<AcquireAnswer[] | undefined> {
    const { liveness } = sending;
    const ordered = sorted(requests);
    if (!allOrNothing && !requests.every(isPlain)) {
      const all = await Promise.all(requests.map((request) => this.#acquireOne(sending, request)));
      return all.every((answer) => answer !== undefined) ? all.flat() : undefined;
    }
    const live = allOrNothing
      ? await this.#acquireAll(sending, ordered)
      : (await Promise.all(chunks(ordered).map((some) => this.#acquireEach(sending, some)))).flat();
    const rows = new Map(live.map((owned) => [owned.row.name, owned]));
    const isRefused = allOrNothing && !live.every(isOneOf(requests));
    const isOpen = !isRefused && requests.some(({ name }) => !rows.has(name));
    // A name without a row is free again, or it was not acquired because the session has ended.
    if (liveness && isOpen && !await this.#isAlive(sending, liveness)) return undefined;
    const answers = requests.map((request) => this.#answer(sending, request, rows.get(request.name)));
    if (!answers.every((answer) => answer !== undefined)) return undefined;
    if (!allOrNothing) return await this.#enqueueRefused(sending, requests, answers);
    if (answers.every(({ granted }) => granted)) return answers;
    return answers.map((answer) => answer.granted ? BUSY : answer);
  }

  /** Acquires all names, or none. Returns the live rows. */
  async #acquireAll(sending: Sending, requests: AcquireRequest[]): Promise<OwnedRow[]> {
    const isOurs = isOneOf(requests);
    const granted = await this.#acquireFree(sending, requests);
    if (granted) return granted;
    const before = await this.#table.liveRows(sending.what, requests.map(({ name }) => name));
    if (requests.length === 0 || !before.every(isOurs)) return before;
    for (const { name } of requests) this.#hints.noteFree(name);
    const live = await this.#acquireTogether(sending, requests);
    if (live.length === requests.length || !live.every(isOurs)) return live;
    const acquired = new Set(live.map(({ row }) => row.name));
    const others = requests.filter(({ name }) => !acquired.has(name)); // held a moment ago, or with a queue
    const areEmpty = await Promise.all(others.map(({ name }) => this.#parts.queue.isEmpty(sending, name)));
    return areEmpty.every(Boolean) ? await this.#acquireTogether(sending, requests) : live;
  }

  /** Acquires all names in one statement if none was seen held, and all are free; otherwise returns nothing. */
  async #acquireFree(sending: Sending, requests: AcquireRequest[]): Promise<OwnedRow[] | undefined> {
    const isHeld = requests.some(({ name }) => this.#hints.isContended(name));
    if (requests.length === 0 || isHeld || !this.#mayGuard(sending)) return undefined;
    const sql = this.#table.sql.acquire(requests, true, sending.liveness);
    const answer = await this.#table.run(sending.what, sql, isPassingConflict).catch((error) => {
      if (!isOneHeld(error) && !isRowLocked(error)) throw error;
    });
    const token = answer?.insertId ?? 0n;
    return token > SESSION_GONE ? requests.map((request) => ownedRow(sending, request, token)) : undefined;
  }

  /** Acquires all names in one statement, which fails if one of them is held. */
  async #acquireTogether(sending: Sending, requests: AcquireRequest[]): Promise<OwnedRow[]> {
    const { what, liveness } = sending;
    const names = requests.map(({ name }) => name);
    try {
      await this.#table.run(what, this.#table.sql.acquire(requests, false, liveness, true));
    } catch (error) {
      if (!isOneHeld(error)) throw error;
      return await this.#table.liveRows(what, names);
    }
    const rows = await this.#table.liveRows(what, names, requests);
    // Some have expired, and others took them.
    if (!rows.every(isOneOf(requests))) {
      for (const request of requests) await this.#parts.queue.release(sending, request);
    }
    return rows;
  }

  /** Lets the requests that wait stand in line or confirm, and decides where a name has no live holder but a queue. */
  async #enqueueRefused(
    sending: Sending,
    requests: readonly AcquireRequest[],
    answers: readonly AcquireAnswer[],
  ): Promise<AcquireAnswer[] | undefined> {
    const all = await Promise.all(requests.map((request, index) => {
      const answer = answers[index];
      const isFinal = answer.granted
        ? !isToConfirm(request, answer)
        : request.window === undefined && answer.holder !== undefined;
      return isFinal ? answer : this.#enqueue(sending, request);
    }));
    return all.every((answer) => answer !== undefined) ? all : undefined;
  }

  /** Acquires a name by its queue; returns nothing when the session of the liveness lock has ended. */
  async #enqueue(sending: Sending, request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const answer = await this.#parts.queue.acquire(sending, request);
    if (answer === LOST_SESSION) endLost(sending.liveness!);
    else if (!answer.granted) this.#hints.noteContended(request.name, answer.holder);
    return answer === LOST_SESSION ? undefined : answer;
  }

  /** Whether the session exists at the server; otherwise it is ended here as well. */
  async #isAlive({ what }: Sending, liveness: LivenessLock): Promise<boolean> {
    const { rows: [[isAlive]] } = await this.#table.run(what, `SELECT ${isSessionAlive(liveness)}`);
    if (isAlive !== "1") endLost(liveness);
    return isAlive === "1";
  }

  /**
   * One statement for a free name; a held one is looked at in its queue, and at once if it was held the last time.
   * Returns nothing when the session of the liveness lock has ended, or the row names an earlier one.
   */
  async #acquireOne(sending: Sending, request: AcquireRequest): Promise<[AcquireAnswer] | undefined> {
    const { name } = request;
    const lasting = isPlain(request) && request.window === undefined ? this.#hints.lastingHolder(name) : undefined;
    if (lasting) { // a look that reads nothing else takes half as long
      const { rows: [same] } = await this.#table.run(sending.what, this.#table.sql.selectSame(request, lasting));
      if (same) return [{ granted: false, holder: { ...lasting, now: Number(same[0]) } }];
      this.#hints.noteContended(name);
    }
    const isOpen = isPlain(request) && !this.#hints.isContended(name);
    const outcome = isOpen ? await this.#try(sending, request) : HELD;
    if (outcome === SESSION_GONE) return endLost(sending.liveness!);
    // An error of the server is the same when the whole table is locked: then perhaps no client holds the name, and this fails.
    if (outcome === undefined || outcome === HELD) {
      const answer = await this.#enqueue(sending, request);
      if (answer?.granted && answer.row.waiters === 0) this.#hints.noteFree(name);
      return answer && [answer];
    }
    const granted = outcome > SESSION_GONE ? ownedRow(sending, request, outcome) : undefined;
    const answer = this.#answer(sending, request, granted ?? (await this.#table.liveRows(sending.what, [name]))[0]);
    const decided = answer && isToConfirm(request, answer) ? await this.#enqueue(sending, request) : answer;
    return decided && [decided];
  }

  /** Returns the outcome of a statement; nothing when a transaction keeps the row locked. */
  async #try(sending: Sending, request: AcquireRequest): Promise<bigint | undefined> {
    const { liveness } = sending;
    // At another isolation level the statements wait for a row that another client guards.
    if (!this.#isReadCommitted(sending) && !this.#hints.wasJustReleased(request.name)) {
      const [held] = await this.#table.liveRows(sending.what, [request.name]);
      if (held && held.owner !== request.owner) return HELD;
    }
    if (this.#hints.hasRow(request.name)) {
      const outcome = await this.#send(sending, request, this.#table.sql.reacquire(request, liveness));
      if (outcome !== 0n) return outcome;
      this.#hints.noteRowless(request.name);
    }
    const sql = this.#table.sql.acquire([request], this.#mayGuard(sending), liveness);
    const outcome = await this.#send(sending, request, sql);
    return outcome === 0n ? HELD : outcome;
  }

  /** @returns Nothing when a transaction keeps the row locked, unless that may be an earlier request of the same owner. */
  async #send({ what }: Sending, { repeated }: AcquireRequest, sql: string): Promise<bigint | undefined> {
    try {
      return (await this.#table.run(what, sql, isPassingConflict)).insertId;
    } catch (error) {
      if (isOneHeld(error)) return HELD;
      if (!repeated && isRowLocked(error)) return undefined;
      throw error;
    }
  }

  /** Whether losers may be spared the row lock: only where a subquery takes no locks. */
  #mayGuard(sending: Sending): boolean {
    const { isolation, kind } = sending.server;
    return isolation === "READ-COMMITTED" || (kind === "mariadb" && this.#isReadCommitted(sending));
  }

  #isReadCommitted({ server }: Sending): boolean {
    return server.isolation === "READ-COMMITTED" || (this.#table.isOwn && server.readCommitted);
  }

  /** Acquires the names that are free, in one statement if all have rows. Returns the live rows. */
  async #acquireEach(sending: Sending, requests: AcquireRequest[]): Promise<OwnedRow[]> {
    const { what, liveness } = sending;
    const names = requests.map(({ name }) => name);
    if (!names.every((name) => this.#hints.hasRow(name))) {
      const granted = await this.#acquireFree(sending, requests);
      if (granted) return granted;
    } else if (!names.some((name) => this.#hints.isContended(name))) {
      const { affectedRows, insertId } = await this.#table.run(what, this.#table.sql.reacquireAll(requests, liveness));
      if (affectedRows === names.length) return requests.map((request) => ownedRow(sending, request, insertId));
    }
    const before = await this.#table.liveRows(what, names);
    const isOurs = isOneOf(requests);
    const held = new Set(before.filter((owned) => !isOurs(owned)).map(({ row }) => row.name));
    const free = requests.filter(({ name }) => !held.has(name));
    if (free.length === 0) return before;
    for (const { name } of free) this.#hints.noteFree(name);
    await this.#table.run(what, this.#table.sql.acquire(free, false, liveness));
    return await this.#table.liveRows(what, names, requests);
  }

  /** The answer that a live row means; none when it is the request's own and names a session that may have ended. */
  #answer({ liveness }: Sending, request: AcquireRequest, owned: OwnedRow | undefined): AcquireAnswer | undefined {
    if (owned?.owner !== request.owner) {
      if (owned) this.#hints.noteContended(request.name);
      return { granted: false, holder: owned?.row };
    }
    if (liveness && owned.session !== liveness.key) return undefined;
    this.#hints.noteGranted(request.owner, owned.row);
    return { granted: true, row: owned.row, ...(liveness ? { session: liveness.session } : {}) };
  }
}

/** Tells which rows are of these requests. */
function isOneOf(requests: readonly AcquireRequest[]): (owned: OwnedRow) => boolean {
  const owners = new Map(requests.map(({ name, owner }) => [name, owner]));
  return ({ row, owner }) => owners.get(row.name) === owner;
}

/** Whether a lock was granted to a waiter by another client's release, for the grace only. */
function isToConfirm(request: AcquireRequest, answer: AcquireAnswer): boolean {
  if (request.window === undefined || !answer.granted) return false;
  const { createdAt: since, lockedUntil: until } = answer.row;
  return isUnconfirmed({ since, until }, request);
}

/** Ends a session that no longer exists at the server: its holders are notified, and the next request opens another. */
function endLost({ session }: LivenessLock): undefined {
  session.end(new BackendError("Cannot go on: the server ended the session", { retryable: true }));
}

/** The row that a statement has just written: its token is the server's clock. */
function ownedRow({ liveness }: Sending, request: AcquireRequest, token: bigint): OwnedRow {
  const row = grantedRow(request, token, Number(token), liveness?.session.id);
  return { owner: request.owner, row, session: liveness?.key ?? null };
}
