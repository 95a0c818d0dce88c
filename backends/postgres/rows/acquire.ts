import { areAlike, namesOf } from "../../../core/util/requests.ts";
import type { AcquireAnswer, AcquireRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { sleep } from "../../../core/util/runtime.ts";
import { allOf, answersOf, BUSY } from "./results.ts";
import { isRowLocked } from "../errors.ts";
import type { RowSender } from "./row_sender.ts";
import { type Row, toLockRow } from "./rows.ts";
import { ACQUIRE_FIELDS, type Statements } from "./statements.ts";
import type { Voucher } from "../session/voucher.ts";
import { acquisitionOf, commonOf, parametersOf } from "./params.ts";

/** How often a name is asked for that is neither taken nor seen to be held: it changes hands under our eyes. */
const ROUNDS = 10;
/** Of how many names it is remembered what was seen last: to forget one costs half a try. */
const MEMORY = 4_096;

/** How many new sessions are tried that the server of the rows does not have. */
const SESSIONS = 4;

/** The session that vouches for hybrid locks is not on the server of the rows. */
function lostSession(requests: readonly AcquireRequest[]): BackendError {
  const reason = "its session is on another server than the table";
  return new BackendError(`Cannot acquire ${namesOf(requests)}: ${reason}`, { retryable: true });
}

/** Takes names by their rows. */
export class Acquirer {
  readonly #sender: RowSender;
  readonly #sql: Statements;
  readonly #vouch: (() => Promise<Voucher>) | undefined;
  /**
   * What was seen last of names. Where another held it a look costs half of a try; what this process has released itself
   * need not be looked at. The server decides all the same.
   */
  readonly #seen = new LruMap<string, "held" | "ours" | "released">(MEMORY);

  /** @param vouch The session that vouches for hybrid locks. */
  constructor(sender: RowSender, sql: Statements, vouch?: () => Promise<Voucher>) {
    this.#sender = sender;
    this.#sql = sql;
    this.#vouch = vouch;
  }

  /** The name may be free by now. */
  noteFree(name: string): void {
    if (this.#seen.get(name) === "held") this.#seen.delete(name);
  }

  /** This process has released the name. */
  noteReleased(name: string): void {
    this.#seen.set(name, "released");
  }

  /** Takes each name that is free. */
  async takeEach(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    if (requests.length === 1) return [await this.#takeOne(requests[0])];
    // a row that another transaction keeps, as guard does, is no reason for the others not to have theirs
    return await this.#takeTogether(requests) ?? await Promise.all(requests.map((request) => this.#takeOne(request)));
  }

  /** Takes what is free, without a look where all was released here; `undefined` when a row was waited for in vain. */
  async #takeTogether(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[] | undefined> {
    if (areAlike(requests) && requests.every(({ name }) => this.#seen.get(name) === "released")) {
      const voucher = await this.#vouch?.();
      const rows = await this.#send(requests, this.#sql.acquireFree, commonOf(requests), voucher);
      if (rows === undefined) return undefined;
      const answers = allOf(rows[0], requests, voucher);
      for (const { name } of requests) this.#seen.set(name, "ours");
      if (answers) return answers;
    }
    return await this.#take(requests, false);
  }

  async #takeOne(request: AcquireRequest): Promise<AcquireAnswer> {
    return await this.#retake(request) ?? await this.#peek(request) ?? (await this.#take([request], false))?.[0] ??
      BUSY;
  }

  /** Takes a name that this process has released; `undefined` when it is not as it was left. */
  async #retake(request: AcquireRequest): Promise<AcquireAnswer | undefined> {
    if (this.#seen.get(request.name) !== "released") return undefined;
    const voucher = await this.#vouch?.();
    const parameters = parametersOf([acquisitionOf(request)], ACQUIRE_FIELDS);
    const rows = await this.#send([request], this.#sql.retake, parameters, voucher);
    if (rows === undefined) return BUSY;
    const answer = answersOf(rows, [request], voucher).get(request.name);
    if (answer) this.#seen.set(request.name, "ours");
    else this.#seen.delete(request.name);
    return answer;
  }

  /** Takes all names or none. */
  async takeAll(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    return await this.#take(requests, true) ?? requests.map(() => BUSY);
  }

  /** Looks whether a name that was held is held still; `undefined` when it has to be tried for. */
  async #peek({ name, owner }: AcquireRequest): Promise<AcquireAnswer | undefined> {
    if (this.#seen.get(name) !== "held") return undefined;
    const what = () => `acquire lock ${JSON.stringify(name)}`;
    const [row] = await this.#sender.send(what, this.#sql.peek, [name, owner]);
    if (row) return { granted: false, holder: toLockRow(row) };
    this.#seen.delete(name);
    return undefined;
  }

  /** Asks until it is known of each name whether it was taken; `undefined` when a row was waited for in vain. */
  async #take(requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[] | undefined> {
    const answers = new Map<string, AcquireAnswer>();
    let open = requests;
    let unvouched = 0;
    for (let round = 0; open.length > 0 && round < ROUNDS; round++) {
      const voucher = await this.#vouch?.();
      const rows = await this.#attempt(open, allOrNothing, voucher);
      if (rows === undefined) return undefined;
      const found = answersOf(rows, open, voucher);
      if (voucher && found.size === 0 && !await this.#stands(open, voucher)) {
        // a new session that is not there either is on another server than the rows
        if (unvouched++ > 0) this.#sender.discard();
        if (unvouched > SESSIONS) throw lostSession(open);
        continue;
      }
      for (const [name, answer] of found) {
        answers.set(name, answer);
        this.#seen.set(name, answer.granted ? "ours" : "held");
      }
      if (answers.size === requests.length || (allOrNothing && found.size > 0)) break;
      open = open.filter(({ name }) => !answers.has(name));
      if (voucher?.lifeline.ended === undefined && round > 1) await sleep(round * Math.random());
    }
    return requests.map(({ name }) => answers.get(name) ?? BUSY);
  }

  /** Whether the server of the rows has the session that is to vouch for them; one that it has not is ended. */
  async #stands(requests: readonly AcquireRequest[], { key, lifeline }: Voucher): Promise<boolean> {
    const question = "SELECT pg_try_advisory_xact_lock_shared($1::text::bigint)::text AS gone";
    const [row] = await this.#sender.send(() => `acquire ${namesOf(requests)}`, question, [key]);
    if (row.gone === "true") lifeline.end(new BackendError("Cannot go on: the server has no such session"));
    return row.gone !== "true";
  }

  async #attempt(
    requests: readonly AcquireRequest[],
    allOrNothing: boolean,
    voucher: Voucher | undefined,
  ): Promise<readonly Row[] | undefined> {
    const { acquire, acquireEach, acquireAll } = this.#sql;
    const several = allOrNothing ? acquireAll : acquireEach;
    const statement = requests.length === 1 ? acquire : several;
    const parameters = parametersOf(requests.map(acquisitionOf), ACQUIRE_FIELDS);
    return await this.#send(requests, statement, parameters, voucher);
  }

  /**
   * One statement; `undefined` when it waited too long for a row. That means busy, unless an earlier statement of the same
   * owner may be the one that has locked it.
   */
  async #send(
    requests: readonly AcquireRequest[],
    statement: string,
    parameters: (string | null)[],
    voucher: Voucher | undefined,
  ): Promise<readonly Row[] | undefined> {
    const what = () => `acquire ${namesOf(requests)}`;
    const session = [voucher?.key ?? null, voucher?.pid ?? null];
    try {
      return await this.#sender.send(what, statement, [...parameters, ...session], requests);
    } catch (error) {
      // several that are taken each by itself are tried one by one after this
      const certain = requests.length === 1 || statement === this.#sql.acquireAll;
      const repeated = certain && requests.some(({ repeated }) => repeated);
      if (isRowLocked((error as Error).cause) && !repeated) return undefined;
      throw error;
    }
  }
}
