import { namesOf } from "../../../core/util/requests.ts";
import type { AcquireAnswer, AcquireRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { grantedRow } from "../../../core/granted_row.ts";
import { chunks, lanes, sorted } from "./chunks.ts";
import type { Doubts } from "./doubts.ts";
import { isConflict, isLockWaitTimeout } from "../errors.ts";
import type { LockTable } from "./lock_table.ts";
import type { Memory } from "./name_hints.ts";
import { type OwnedRow, toOwnedRow } from "./rows.ts";
import type { Server } from "../connection/server.ts";
import type { Liveness, LivenessLock } from "../../sessions/liveness.ts";
import { HELD, isVouched, UNVOUCHED } from "./acquire_statements.ts";

/** How often a name that is neither held nor free (it changes hands under our eyes) is tried again. */
const ROUNDS = 5;

/** Requests that are not answered yet. */
export interface UnderWay {
  /** What is asked for. */
  readonly requests: readonly AcquireRequest[];
  /** The answers. */
  readonly outcome: Promise<AcquireAnswer[]>;
}

/** Takes names: one in a statement, several in a batch or in a transaction. */
export class Acquiring {
  readonly #table: LockTable;
  readonly #memory: Memory;
  readonly #lent: boolean;
  readonly #liveness: Liveness | undefined;
  readonly #doubts: Doubts;
  readonly #underWay = new Set<UnderWay>();

  /** @param lent Whether the connections are the caller's, with an isolation level of their own. */
  constructor(table: LockTable, memory: Memory, lent: boolean, liveness: Liveness | undefined, doubts: Doubts) {
    this.#table = table;
    this.#memory = memory;
    this.#lent = lent;
    this.#liveness = liveness;
    this.#doubts = doubts;
  }

  /** The requests that are not answered yet. */
  get underWay(): readonly UnderWay[] {
    return [...this.#underWay];
  }

  /** One atomic attempt for each request; all of them or none if so wanted. */
  acquire(requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const outcome = this.#attempt(`acquire ${namesOf(requests)}`, requests, allOrNothing);
    const underWay = { requests, outcome };
    this.#underWay.add(underWay);
    const over = () => void this.#underWay.delete(underWay);
    outcome.then(over, over);
    return outcome;
  }

  async #attempt(
    what: string,
    requests: readonly AcquireRequest[],
    allOrNothing: boolean,
  ): Promise<AcquireAnswer[]> {
    await this.#doubts.settle(what, requests, true);
    try {
      return await this.#take(what, requests, allOrNothing);
    } catch (error) {
      this.#doubts.note(requests);
      throw error;
    }
  }

  async #take(what: string, requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    const server = await this.#table.ready(what);
    for (let round = 0; round < ROUNDS; round++) {
      const liveness = await this.#liveness?.lock();
      const answers = requests.length === 1
        ? await this.#takeOne(what, requests[0], server, liveness)
        : await this.#takeMany(what, requests, allOrNothing, server, liveness);
      if (answers !== undefined) return answers;
      // A new session that is not there either is on another server than the rows: the address leads elsewhere by now.
      if (round > 0) this.#table.discard();
    }
    throw new BackendError(`Cannot ${what}: the server ended the session that keeps the locks`, { retryable: true });
  }

  /** Several names; `undefined` when the session that was to keep them has ended, or is no longer the present one. */
  async #takeMany(
    what: string,
    requests: readonly AcquireRequest[],
    allOrNothing: boolean,
    server: Server,
    liveness: LivenessLock | undefined,
  ): Promise<AcquireAnswer[] | undefined> {
    const ordered = sorted(requests);
    const taken = allOrNothing
      ? await this.#takeAll(what, ordered, liveness)
      : (await Promise.all(lanes(ordered).map((some) => this.#takeEach(what, some, server, liveness)))).flat();
    const rows = new Map(taken.map((owned) => [owned.row.name, owned]));
    // Without a row a name is free again, or it was not taken because the session has ended.
    if (liveness && requests.some(({ name }) => !rows.has(name)) && !await this.#stands(what, liveness)) {
      return undefined;
    }
    const answers = requests.map((request) => this.#answer(request, rows.get(request.name), liveness));
    if (answers.includes(undefined)) return undefined;
    const settled = answers as AcquireAnswer[];
    const refused = allOrNothing && settled.some(({ granted }) => !granted);
    return refused ? settled.map((answer) => answer.granted ? { granted: false, holder: undefined } : answer) : settled;
  }

  /** Whether the server still has the session; one that it has not is ended here too. */
  async #stands(what: string, liveness: LivenessLock): Promise<boolean> {
    const { rows: [[vouched]] } = await this.#table.run(what, `SELECT ${isVouched(liveness)}`);
    if (vouched !== "1") endLost(liveness);
    return vouched === "1";
  }

  /**
   * One statement. Who has a name that is held is read by a second one, unless a plain no will do. `undefined` when the
   * session that was to keep the lock has ended, or is no longer the present one.
   */
  async #takeOne(
    what: string,
    request: AcquireRequest,
    server: Server,
    liveness: LivenessLock | undefined,
  ): Promise<[AcquireAnswer] | undefined> {
    const { name } = request;
    for (let round = 0; round < ROUNDS; round++) {
      const busy = this.#memory.isContended(name) ? await this.#look(what, request) : undefined;
      if (busy) return [busy];
      const told = await this.#try(what, request, server, liveness);
      if (told === UNVOUCHED) {
        endLost(liveness!);
        return undefined;
      }
      const row = told !== undefined && told > UNVOUCHED ? takenRow(request, told, liveness) : undefined;
      if (told === undefined) {
        this.#memory.noteContended(name);
        break;
      }
      const owned = row ?? await this.#table.peek(what, name);
      if (!owned) continue;
      const answer = this.#answer(request, owned, liveness);
      return answer && [answer];
    }
    return [{ granted: false, holder: undefined }];
  }

  /**
   * Looks at a name that was held: a look costs half of a try. `undefined` when it is free by now, or this request's own
   * row is found, which has to be taken again for the present session.
   */
  async #look(what: string, request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    const { name, owner } = request;
    const held = await this.#table.peek(what, name);
    if (held && held.owner !== owner) {
      this.#memory.noteContended(name, held.owner);
      return { granted: false, holder: held.row };
    }
    this.#memory.noteFree(name);
    return undefined;
  }

  /**
   * Tries for a name: the token, {@linkcode HELD}, or {@linkcode READ_THE_ROW}; `undefined` when a transaction keeps the
   * row locked, as `guard` does.
   */
  async #try(
    what: string,
    request: AcquireRequest,
    server: Server,
    liveness: LivenessLock | undefined,
  ): Promise<bigint | undefined> {
    if (this.#memory.hasRow(request.name)) {
      const told = await this.#tell(what, request, this.#table.sql.retake(request, liveness));
      if (told !== 0n) return told;
      this.#memory.noteRowless(request.name);
    }
    const sql = this.#table.sql.acquire([request], this.#guarded(server), liveness);
    const told = await this.#tell(what, request, sql);
    return told === 0n ? HELD : told;
  }

  /**
   * What an acquiring statement answers; `undefined` when a transaction keeps the row locked, as `guard` does. Where an
   * earlier request of the owner is still in doubt that transaction may be its own, and nothing is known.
   */
  async #tell(what: string, { repeated }: AcquireRequest, sql: string): Promise<bigint | undefined> {
    try {
      return (await this.#table.run(what, sql, (error) => isConflict(error) && !isLockWaitTimeout(error))).insertId;
    } catch (error) {
      if (!repeated && error instanceof BackendError && isLockWaitTimeout(error.cause)) return undefined;
      throw error;
    }
  }

  /** Whether losers may be spared the row lock: only where a subquery takes no locks itself, or a busy try would write. */
  #guarded(server: Server): boolean {
    return this.#lent ? server.isolation === "READ-COMMITTED" || server.kind === "mariadb" : server.readCommitted;
  }

  /** Takes of several names what is free: in one statement when all are and have rows, else with looks besides. */
  async #takeEach(
    what: string,
    requests: AcquireRequest[],
    server: Server,
    liveness: LivenessLock | undefined,
  ): Promise<OwnedRow[]> {
    const names = requests.map(({ name }) => name);
    const owners = ownersOf(requests);
    const contended = names.some((name) => this.#memory.isContended(name));
    if (!contended && names.every((name) => this.#memory.hasRow(name))) {
      const { affectedRows, insertId } = await this.#table.run(
        what,
        this.#table.sql.retakeAll(requests, liveness),
      );
      if (affectedRows === names.length) return requests.map((request) => takenRow(request, insertId, liveness));
    } else if (!contended && this.#guarded(server)) {
      await this.#table.run(what, this.#table.sql.acquire(requests, true, liveness));
      return await this.#table.peekAll(what, names);
    }
    const before = await this.#table.peekAll(what, names);
    const isOthers = ({ row, owner }: OwnedRow) => owners.get(row.name) !== owner;
    const held = new Set(before.filter(isOthers).map(({ row }) => row.name));
    const wanted = requests.filter(({ name }) => !held.has(name));
    if (wanted.length === 0) return before;
    for (const { name } of wanted) this.#memory.noteFree(name);
    await this.#table.run(what, this.#table.sql.acquire(wanted, false, liveness));
    return await this.#table.peekAll(what, names);
  }

  /** Takes several names in one transaction: all of them or none. */
  async #takeAll(what: string, requests: AcquireRequest[], liveness: LivenessLock | undefined): Promise<OwnedRow[]> {
    const names = requests.map(({ name }) => name);
    const owners = ownersOf(requests);
    const isOurs = ({ row, owner }: OwnedRow) => owners.get(row.name) === owner;
    const before = await this.#table.peekAll(what, names);
    if (before.some((row) => !isOurs(row))) return before;
    return await this.#table.transaction(what, async (send) => {
      const result: OwnedRow[] = [];
      for (const some of chunks(requests)) {
        await send(this.#table.sql.acquire(some, false, liveness));
        const { rows } = await send(this.#table.sql.peek(some.map(({ name }) => name), true));
        result.push(...rows.map(toOwnedRow));
        if (!result.every(isOurs)) break;
      }
      return { keep: result.length === names.length && result.every(isOurs), result };
    });
  }

  /**
   * What a live row says to a request; `undefined` when the row is the request's own and another session than the present
   * one vouches for it: that one may end without this process being told.
   */
  #answer(
    request: AcquireRequest,
    owned: OwnedRow | undefined,
    liveness: LivenessLock | undefined,
  ): AcquireAnswer | undefined {
    if (owned?.owner !== request.owner) {
      if (owned) this.#memory.noteContended(request.name, owned.owner);
      return { granted: false, holder: owned?.row };
    }
    if (liveness && owned.session !== liveness.key) return undefined;
    this.#memory.noteGranted(request.owner, owned.row);
    return { granted: true, row: owned.row, ...(liveness ? { session: liveness.session } : {}) };
  }
}

/** Ends a session that the server does not have any more: its holders are told, and the next request opens another. */
function endLost({ session }: LivenessLock): void {
  session.end(new BackendError("Cannot go on: the server ended the session", { retryable: true }));
}

/** Which owner each name is wanted for. */
function ownersOf(requests: readonly AcquireRequest[]): Map<string, string> {
  return new Map(requests.map(({ name, owner }) => [name, owner]));
}

/** The row that a statement has just written, from the one number that it answers: the token is the clock. */
function takenRow(request: AcquireRequest, token: bigint, liveness: LivenessLock | undefined): OwnedRow {
  const connection = liveness?.session.id;
  const row = grantedRow(request, token, Number(token), connection);
  return { owner: request.owner, row, session: liveness?.key ?? null };
}
