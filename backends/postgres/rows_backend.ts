import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Claim,
  Finding,
  ListFilter,
  LockRow,
  Mode,
  Observation,
  RenewRequest,
  Target,
} from "../../core/backend.ts";
import { BoundedMap } from "../../core/bounded_map.ts";
import { BackendError } from "../../core/errors.ts";
import { sleep } from "../../core/runtime.ts";
import { closeAdvisorySessions } from "./advisory_sessions.ts";
import { answersOf, BUSY, inOrderOf } from "./answers.ts";
import type { Client } from "./client.ts";
import { isConflict, isMissing, isRowLocked, translate } from "./errors.ts";
import { guardOn } from "./guarding.ts";
import { type Row, toLockRow } from "./rows.ts";
import { ACQUIRE_FIELDS, RELEASE_FIELDS, RENEW_FIELDS, type Statements } from "./statements.ts";
import type { Voucher } from "./voucher.ts";
import type { Watching } from "./watching.ts";
import { acquisitionOf, namesOf, parametersOf, severalOf, wishOf } from "./wishes.ts";

/** What a backend with rows is made of. */
export interface RowsParts {
  /** How it keeps its locks. */
  readonly mode: Mode;
  /** What statements go through. */
  readonly client: Client;
  /** The SQL for its table. */
  readonly statements: Statements;
  /** Wakes those who wait, where the server can. */
  readonly watching?: Watching;
  /** The session that vouches for hybrid locks. */
  readonly vouch?: () => Promise<Voucher>;
  /** Tells whose connections hold and wait for names. */
  readonly observe: (names: readonly string[]) => Promise<Observation[]>;
  /** Looks at what the server means for locks. */
  readonly examine: () => Promise<Finding[]>;
  /** Makes sure of the table again, after somebody dropped it. */
  readonly restore: () => Promise<void>;
  /** Closes what else was opened. */
  readonly close: () => Promise<void>;
}

/** How often a statement that got into another's way is sent again, and the longest pause before that (ms). */
const CONFLICTS = 30;
const CONFLICT_PAUSE = 20;
/** How often a name is asked for that is neither taken nor seen to be held: it changes hands under our eyes. */
const ROUNDS = 10;
/** How many contended names are remembered: to forget one costs half a try. */
const MEMORY = 1_024;

/** Locks as rows of a table: leases, and with a voucher hybrid locks. */
export class RowsBackend implements Backend {
  readonly engine = "postgres";
  readonly mode: Mode;
  readonly watch: Backend["watch"];
  readonly #parts: RowsParts;
  readonly #sql: Statements;
  /** Names that were last seen held: there a look costs half of a try. */
  readonly #contended = new BoundedMap<string, true>(MEMORY);
  #disposed = false;

  constructor(parts: RowsParts) {
    this.mode = parts.mode;
    this.#parts = parts;
    this.#sql = parts.statements;
    const { watching } = parts;
    this.watch = watching && ((name, wake) => watching.add(name, () => (this.#contended.delete(name), wake())));
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const what = () => `acquire ${namesOf(requests)}`;
    if (this.#disposed) throw new BackendError(`Cannot ${what()}: the backend was disposed of`);
    const busy = requests.length === 1 ? await this.#peek(what, requests[0]) : undefined;
    if (busy) return [busy];
    const answers = new Map<string, AcquireAnswer>();
    let open = [...requests];
    for (let round = 0; open.length > 0 && round < ROUNDS; round++) {
      const voucher = await this.#parts.vouch?.();
      const rows = await this.#attempt(what, open, allOrNothing, voucher);
      if (rows === undefined) break; // a row is kept by another transaction: as good as held
      const found = answersOf(rows, open, voucher);
      for (const [name, answer] of found) {
        answers.set(name, answer);
        if (!answer.granted) this.#contended.set(name, true);
      }
      if (answers.size === requests.length || (allOrNothing && found.size > 0)) break;
      open = open.filter(({ name }) => !answers.has(name));
      if (voucher?.lifeline.ended === undefined && round > 1) await sleep(round * Math.random());
    }
    return requests.map(({ name }) => answers.get(name) ?? BUSY);
  }

  /** Looks whether a name that was held is held still; `undefined` when it has to be tried for. */
  async #peek(what: () => string, { name, owner, plainNo }: AcquireRequest): Promise<AcquireAnswer | undefined> {
    if (!this.#contended.has(name)) return undefined;
    const [row] = await this.#send(what, plainNo ? this.#sql.glance : this.#sql.peek, [name, owner]);
    if (row && row.mine !== "true") return plainNo ? BUSY : { granted: false, holder: toLockRow(row) };
    this.#contended.delete(name);
    return undefined;
  }

  /** One statement; `undefined` when it waited too long for a row. */
  async #attempt(
    what: () => string,
    requests: readonly AcquireRequest[],
    allOrNothing: boolean,
    voucher: Voucher | undefined,
  ): Promise<readonly Row[] | undefined> {
    const { acquire, acquireEach, acquireAll } = this.#sql;
    const several = allOrNothing ? acquireAll : acquireEach;
    const statement = requests.length === 1 ? acquire : several;
    const wishes = requests.map(acquisitionOf);
    const parameters = [...parametersOf(wishes, ACQUIRE_FIELDS), voucher?.key ?? null, voucher?.pid ?? null];
    try {
      return await this.#send(what, statement, parameters);
    } catch (error) {
      if (isRowLocked((error as Error).cause)) return undefined;
      throw error;
    }
  }

  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = () => `renew ${namesOf(requests)}`;
    const wishes = requests.map(wishOf);
    const statement = requests.length === 1 ? this.#sql.renew : this.#sql.renewEach;
    try {
      const rows = await this.#send(what, statement, parametersOf(wishes, RENEW_FIELDS));
      return inOrderOf(requests, rows);
    } catch (error) {
      if (requests.length === 1 || !isRowLocked((error as Error).cause)) throw error;
      return await this.#renewOneByOne(requests);
    }
  }

  /** One of the rows is kept by a transaction that it guards: the others must not wait for that. */
  async #renewOneByOne(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const renewals = requests.map(async (request) => {
      try {
        const parameters = severalOf([wishOf(request)], RENEW_FIELDS);
        const rows = await this.#send(() => `renew ${namesOf([request])}`, this.#sql.renewEach, parameters);
        return inOrderOf([request], rows)[0];
      } catch (error) {
        if (!isRowLocked((error as Error).cause)) throw error;
        return (await this.list({ names: [request.name] }))[0]; // not extended yet, and it says until when it holds
      }
    });
    return await Promise.all(renewals);
  }

  async release(targets: readonly Target[]): Promise<boolean[]> {
    const statement = targets.length === 1 ? this.#sql.release : this.#sql.releaseEach;
    const rows = await this.#send(
      () => `release ${namesOf(targets)}`,
      statement,
      parametersOf(targets, RELEASE_FIELDS),
    );
    return targets.length === 1 ? [rows.length > 0] : Array.from(rows[0].freed!, (digit) => digit === "1");
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const rows = names
      ? await this.#send(() => "list locks", this.#sql.listNames, [JSON.stringify(names)])
      : await this.#send(() => "list locks", this.#sql.list, [prefix, String(includeExpired)]);
    return rows.map(toLockRow);
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const [what, statement] = scope === "all"
      ? ["remove every lock", this.#sql.cleanAll]
      : ["clean up expired locks", this.#sql.cleanExpired];
    const [row] = await this.#send(() => what, statement, []);
    return Number(row.cleaned);
  }

  async guard({ name, owner }: Claim, client: unknown): Promise<boolean> {
    const rows = await guardOn(client, `guard lock ${JSON.stringify(name)}`, this.#sql.guard, [name, owner]);
    return rows.length > 0;
  }

  observe(names: readonly string[]): Promise<Observation[]> {
    return this.#parts.observe(names);
  }

  examine(): Promise<Finding[]> {
    return this.#parts.examine();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    await closeAdvisorySessions(this);
    await this.#parts.watching?.close(); // those who wait try once more, and hear that it is over
    await this.#parts.close();
    await this.#parts.client.close();
  }

  /** Sends a statement: again after a conflict, and once more after the table was restored. */
  async #send(what: () => string, statement: string, parameters: (string | null)[]): Promise<readonly Row[]> {
    for (let conflicts = 0, restored = false;;) {
      try {
        return await this.#parts.client.send(statement, parameters);
      } catch (error) {
        if (isConflict(error) && conflicts++ < CONFLICTS) {
          await sleep(Math.random() * Math.min(conflicts, CONFLICT_PAUSE));
        } else if (isMissing(error) && !restored) {
          restored = true;
          await this.#parts.restore();
        } else throw translate(what(), error);
      }
    }
  }
}
