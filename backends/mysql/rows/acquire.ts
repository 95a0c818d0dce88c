import type { AcquireAnswer, AcquireRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { grantedRow, namesOf } from "../../../core/util/requests.ts";
import type { Liveness, LivenessLock } from "../../sessions/liveness.ts";
import type { Server } from "../connection/server.ts";
import { HELD, isSessionAlive, SESSION_GONE } from "./acquire_statements.ts";
import { isOneHeld } from "../errors.ts";
import { isPassingConflict, isRowLocked } from "./guard.ts";
import type { LockTable } from "./lock_table.ts";
import type { NameHints } from "./name_hints.ts";
import { chunks, type OwnedRow, sorted, toOwnedRow } from "./rows.ts";
import type { UnknownRequests } from "./unknown_requests.ts";

/** How often a name is tried that is neither free nor held when looked at: it changes hands meanwhile. */
const ROUNDS = 5;

/** Requests that are not answered yet. */
export interface UnderWay {
  readonly requests: readonly AcquireRequest[];
  readonly outcome: Promise<AcquireAnswer[]>;
}

/** What acquisitions need of their backend. */
export interface AcquisitionParts {
  readonly table: LockTable;
  readonly hints: NameHints;
  readonly unknown: UnknownRequests;
  /** The liveness lock, in `hybrid` mode. */
  readonly liveness: Liveness | undefined;
  /** Whether the connections are the caller's, with an isolation level of their own. */
  readonly isExternal: boolean;
}

/** What the statements of one attempt have in common. */
interface Attempt {
  /** The action, for error messages. */
  readonly what: string;
  readonly server: Server;
  readonly liveness: LivenessLock | undefined;
}

/** Acquires locks: one in a statement, several in a batch or in a transaction. */
export class Acquisitions {
  readonly #parts: AcquisitionParts;
  readonly #table: LockTable;
  readonly #hints: NameHints;
  readonly #underWay = new Set<UnderWay>();

  constructor(parts: AcquisitionParts) {
    this.#parts = parts;
    this.#table = parts.table;
    this.#hints = parts.hints;
  }

  /** The requests that are not answered yet. */
  get underWay(): readonly UnderWay[] {
    return [...this.#underWay];
  }

  /** Makes one atomic attempt for each request; with `allOrNothing` for all of them together. */
  acquire(requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const outcome = this.#settled(`acquire ${namesOf(requests)}`, requests, allOrNothing);
    const underWay = { requests, outcome };
    this.#underWay.add(underWay);
    const over = () => void this.#underWay.delete(underWay);
    outcome.then(over, over);
    return outcome;
  }

  async #settled(what: string, requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const { unknown } = this.#parts;
    await unknown.settle(what, requests, true);
    try {
      return await this.#acquire(what, requests, allOrNothing);
    } catch (error) {
      unknown.note(requests);
      throw error;
    }
  }

  async #acquire(what: string, requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const server = await this.#table.ready(what);
    for (let round = 0; round < ROUNDS; round++) {
      const attempt = { what, server, liveness: await this.#parts.liveness?.lock() };
      const answers = requests.length === 1
        ? await this.#acquireOne(attempt, requests[0])
        : await this.#acquireSeveral(attempt, requests, allOrNothing);
      if (answers !== undefined) return answers;
      // A new session that does not exist there either is on another server than the rows: the address has moved.
      if (round > 0) this.#table.discard();
    }
    throw new BackendError(`Cannot ${what}: the server ended the session that keeps the locks`, { retryable: true });
  }

  /** Returns nothing when the session of the liveness lock has ended, or the row names an earlier one. */
  async #acquireSeveral(
    attempt: Attempt,
    requests: readonly AcquireRequest[],
    allOrNothing: boolean,
  ): Promise<AcquireAnswer[] | undefined> {
    const { liveness } = attempt;
    const ordered = sorted(requests);
    const live = allOrNothing
      ? await this.#acquireAll(attempt, ordered)
      : (await Promise.all(chunks(ordered).map((some) => this.#acquireEach(attempt, some)))).flat();
    const rows = new Map(live.map((owned) => [owned.row.name, owned]));
    // A name without a row is free again, or it was not acquired because the session has ended.
    if (liveness && requests.some(({ name }) => !rows.has(name)) && !await this.#isAlive(attempt, liveness)) {
      return undefined;
    }
    const answers = requests.map((request) => this.#answer(attempt, request, rows.get(request.name)));
    if (!answers.every((answer) => answer !== undefined)) return undefined;
    if (!allOrNothing || answers.every(({ granted }) => granted)) return answers;
    return answers.map((answer) => answer.granted ? { granted: false, holder: undefined } : answer);
  }

  /** Whether the session exists at the server; otherwise it is ended here as well. */
  async #isAlive({ what }: Attempt, liveness: LivenessLock): Promise<boolean> {
    const { rows: [[isAlive]] } = await this.#table.run(what, `SELECT ${isSessionAlive(liveness)}`);
    if (isAlive !== "1") endLost(liveness);
    return isAlive === "1";
  }

  /**
   * One statement; the holder of a name that is held is read by a second one. Returns nothing when the session of the
   * liveness lock has ended, or the row names an earlier one.
   */
  async #acquireOne(attempt: Attempt, request: AcquireRequest): Promise<[AcquireAnswer] | undefined> {
    const { name } = request;
    for (let round = 0; round < ROUNDS; round++) {
      const busy = this.#hints.isContended(name) ? await this.#lookBefore(attempt, request) : undefined;
      if (busy) return [busy];
      const outcome = await this.#try(attempt, request);
      if (outcome === SESSION_GONE) {
        endLost(attempt.liveness!);
        return undefined;
      }
      if (outcome === undefined) {
        this.#hints.noteContended(name);
        // The server's error is the same when the whole table is locked: then perhaps no client holds it, and this fails.
        return [{ granted: false, holder: (await this.#table.liveRow(attempt.what, name))?.row }];
      }
      const granted = outcome > SESSION_GONE ? ownedRow(attempt, request, outcome) : undefined;
      const owned = granted ?? await this.#table.liveRow(attempt.what, name);
      if (!owned) continue;
      const answer = this.#answer(attempt, request, owned);
      return answer && [answer];
    }
    return [{ granted: false, holder: undefined }];
  }

  /**
   * Looks at a name that was last seen held, at half the cost of an attempt. Returns nothing when it is free, or when the
   * row is this request's own, which may have to be acquired again for the present session.
   */
  async #lookBefore({ what }: Attempt, { name, owner }: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const held = await this.#table.liveRow(what, name);
    if (held && held.owner !== owner) {
      this.#hints.noteContended(name);
      return { granted: false, holder: held.row };
    }
    this.#hints.noteFree(name);
    return undefined;
  }

  /** Returns the outcome of a statement; nothing when a transaction keeps the row locked. */
  async #try(attempt: Attempt, request: AcquireRequest): Promise<bigint | undefined> {
    const { liveness } = attempt;
    if (this.#hints.hasRow(request.name)) {
      const outcome = await this.#send(attempt, request, this.#table.sql.reacquire(request, liveness));
      if (outcome !== 0n) return outcome;
      this.#hints.noteRowless(request.name);
    }
    const sql = this.#table.sql.acquire([request], this.#mayGuard(attempt), liveness);
    const outcome = await this.#send(attempt, request, sql);
    return outcome === 0n ? HELD : outcome;
  }

  /** @returns Nothing when a transaction keeps the row locked, unless that may be an earlier request of the same owner. */
  async #send({ what }: Attempt, { repeated }: AcquireRequest, sql: string): Promise<bigint | undefined> {
    try {
      return (await this.#table.run(what, sql, isPassingConflict)).insertId;
    } catch (error) {
      if (!repeated && isRowLocked(error)) return undefined;
      throw error;
    }
  }

  /** Whether losers may be spared the row lock: only where a subquery takes no locks. */
  #mayGuard({ server }: Attempt): boolean {
    if (!this.#parts.isExternal) return server.readCommitted;
    return server.isolation === "READ-COMMITTED" || server.kind === "mariadb";
  }

  /** Acquires the names that are free, in one statement if all have rows. Returns the live rows. */
  async #acquireEach(attempt: Attempt, requests: AcquireRequest[]): Promise<OwnedRow[]> {
    const { what, liveness } = attempt;
    const { sql } = this.#table;
    const names = requests.map(({ name }) => name);
    const isContended = names.some((name) => this.#hints.isContended(name));
    if (!isContended && names.every((name) => this.#hints.hasRow(name))) {
      const { affectedRows, insertId } = await this.#table.run(what, sql.reacquireAll(requests, liveness));
      if (affectedRows === names.length) return requests.map((request) => ownedRow(attempt, request, insertId));
    } else if (!isContended && this.#mayGuard(attempt)) {
      await this.#table.run(what, sql.acquire(requests, true, liveness));
      return await this.#table.acquiredRows(what, requests);
    }
    const before = await this.#table.liveRows(what, names);
    const owners = ownersOf(requests);
    const ofOthers = before.filter(({ row, owner }) => owners.get(row.name) !== owner);
    const held = new Set(ofOthers.map(({ row }) => row.name));
    const free = requests.filter(({ name }) => !held.has(name));
    if (free.length === 0) return before;
    for (const { name } of free) this.#hints.noteFree(name);
    await this.#table.run(what, sql.acquire(free, false, liveness));
    return await this.#table.acquiredRows(what, requests);
  }

  /** Acquires all names in one transaction, or none. Returns the live rows. */
  async #acquireAll({ what, liveness }: Attempt, requests: AcquireRequest[]): Promise<OwnedRow[]> {
    const names = requests.map(({ name }) => name);
    const owners = ownersOf(requests);
    const isOurs = ({ row, owner }: OwnedRow) => owners.get(row.name) === owner;
    const before = await this.#table.liveRows(what, names);
    if (requests.length === 0 || before.some((row) => !isOurs(row))) return before;
    if (!this.#table.hasTransactions) return await this.#acquireAllAtOnce(what, requests);
    return await this.#table.transaction(what, async (send) => {
      const result: OwnedRow[] = [];
      for (const some of chunks(requests)) {
        await send(this.#table.sql.acquire(some, false, liveness));
        const { rows } = await send(this.#table.sql.selectLive(some.map(({ name }) => name), true));
        result.push(...rows.map(toOwnedRow));
        if (!result.every(isOurs)) break;
      }
      return { keep: result.length === names.length && result.every(isOurs), result };
    });
  }

  /** The same in one statement, where each may take another connection. */
  async #acquireAllAtOnce(what: string, requests: AcquireRequest[]): Promise<OwnedRow[]> {
    const { sql } = this.#table;
    try {
      await this.#table.run(what, sql.acquire(requests, false, undefined, true));
    } catch (error) {
      if (!isOneHeld(error)) throw error;
      return await this.#table.liveRows(what, requests.map(({ name }) => name));
    }
    const rows = await this.#table.acquiredRows(what, requests);
    const owners = ownersOf(requests);
    const isWhole = rows.every(({ row, owner }) => owners.get(row.name) === owner);
    if (!isWhole) await this.#table.run(what, sql.undoAll(requests)); // some have expired, and others took them
    return rows;
  }

  /** The answer that a live row means; none when it is the request's own and names a session that may have ended. */
  #answer({ liveness }: Attempt, request: AcquireRequest, owned: OwnedRow | undefined): AcquireAnswer | undefined {
    if (owned?.owner !== request.owner) {
      if (owned) this.#hints.noteContended(request.name);
      return { granted: false, holder: owned?.row };
    }
    if (liveness && owned.session !== liveness.key) return undefined;
    this.#hints.noteGranted(request.owner, owned.row);
    return { granted: true, row: owned.row, ...(liveness ? { session: liveness.session } : {}) };
  }
}

/** Ends a session that no longer exists at the server: its holders are notified, and the next request opens another. */
function endLost({ session }: LivenessLock): void {
  session.end(new BackendError("Cannot go on: the server ended the session", { retryable: true }));
}

/** The owner that each name is wanted for. */
function ownersOf(requests: readonly AcquireRequest[]): Map<string, string> {
  return new Map(requests.map(({ name, owner }) => [name, owner]));
}

/** The row that a statement has just written: its token is the server's clock. */
function ownedRow({ liveness }: Attempt, request: AcquireRequest, token: bigint): OwnedRow {
  const row = grantedRow(request, token, Number(token), liveness?.session.id);
  return { owner: request.owner, row, session: liveness?.key ?? null };
}
