import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Claim,
  ListFilter,
  LockRow,
  RenewRequest,
  Target,
} from "../../core/backend.ts";
import { BackendError } from "../../core/errors.ts";
import type { Connector } from "./connector.ts";
import { connectionBehind, send } from "./driver.ts";
import { isConflict, isLockWaitTimeout, isMissingTable, translate } from "./errors.ts";
import { Executor } from "./executor.ts";
import { Polling } from "./polling.ts";
import { type OwnedRow, toOwnedRow } from "./rows.ts";
import { columnsOf, hasTable, schema } from "./schema.ts";
import { describe, QUESTIONS, requireServer, type Server } from "./server.ts";
import type { Session, Sessions } from "./sessions.ts";
import { bytes } from "./sql.ts";
import { READ_THE_ROW, type Statements, statementsFor } from "./statements.ts";

/** How many rows this process remembers of locks it was granted, and names of locks it found held by others. */
const MEMORY = 16_384;
/** Names in one statement, at most. */
const TOGETHER = 200;
/** How often a name that is neither held nor free (it changes hands under our eyes) is tried again. */
const ROUNDS = 5;

/** Puts an entry into a map of bounded size. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MEMORY) map.delete(map.keys().next().value!);
}

/** The locks of a request, for an error's sentence. */
export function namesOf(requests: readonly { readonly name: string }[]): string {
  const [first, ...others] = requests.map(({ name }) => JSON.stringify(name));
  return others.length === 0 ? `lock ${first}` : `lock ${first} and ${others.length} more`;
}

/** Parts of a list, short enough for one statement each. */
function chunks<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / TOGETHER) }, (_, index) => {
    return items.slice(index * TOGETHER, (index + 1) * TOGETHER);
  });
}

/** Items in the one order that everybody locks rows in: that of the names' bytes, as the server has them. */
function sorted<T extends { readonly name: string }>(items: readonly T[]): T[] {
  const keyed = items.map((item) => ({ item, key: bytes(item.name) }));
  return keyed.sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0).map(({ item }) => item);
}

/** A lock table in a MySQL or MariaDB database: `lease`, and `hybrid` when there are sessions to vouch for the rows. */
export class RowBackend implements Backend {
  readonly engine = "mysql";
  readonly mode: "lease" | "hybrid";
  readonly #connector: Connector;
  readonly #executor: Executor;
  readonly #sessions: Sessions | undefined;
  readonly #sql: Statements;
  readonly #polling: Polling;
  /** Rows as granted, by owner: with them a renewal needs one number of the server only. */
  readonly #granted = new Map<string, LockRow>();
  /** Names that were last seen held by others: there a look costs less than a try, and says who has it. */
  readonly #contended = new Map<string, true>();
  #prepared: Promise<Server> | undefined;

  constructor(connector: Connector, sessions?: Sessions) {
    this.mode = sessions ? "hybrid" : "lease";
    this.#connector = connector;
    this.#executor = new Executor(connector);
    this.#sessions = sessions;
    this.#sql = statementsFor(connector.target.options.table, sessions !== undefined);
    this.#polling = new Polling((names) => this.#whichHeld(names));
  }

  /** Makes sure that the server can be reached, keeps the promise and has the table. */
  async open(): Promise<void> {
    await this.#ready("connect");
    await this.#sessions?.voucher("connect");
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    const server = await this.#ready(what);
    const session = await this.#sessions?.voucher(what);
    if (requests.length === 1) return [await this.#takeOne(what, requests[0], server, session)];
    const ordered = sorted(requests);
    const taken = allOrNothing
      ? await this.#takeAll(what, ordered, session)
      : (await Promise.all(chunks(ordered).map((some) => this.#takeEach(what, some, session)))).flat();
    const rows = new Map(taken.map((owned) => [owned.row.name, owned]));
    const answers = requests.map((request) => this.#answer(request, rows.get(request.name), session));
    const refused = allOrNothing && answers.some(({ granted }) => !granted);
    return refused ? answers.map((answer) => answer.granted ? { granted: false, holder: undefined } : answer) : answers;
  }

  /** One statement, unless the name is held: then who has it is read as well. */
  async #takeOne(
    what: string,
    request: AcquireRequest,
    server: Server,
    session: Session | undefined,
  ): Promise<AcquireAnswer> {
    const { name } = request;
    for (let round = 0; round < ROUNDS; round++) {
      if (this.#contended.has(name)) {
        const held = await this.#peek(what, name);
        if (held) return this.#answer(request, held, session);
        this.#contended.delete(name);
      }
      const told = await this.#try(what, this.#sql.acquire([request], this.#guarded(server), session?.voucher));
      if (told === undefined) break;
      if (told > READ_THE_ROW) return this.#answer(request, freshRow(request, told, session), session);
      const row = await this.#peek(what, name);
      if (row) return this.#answer(request, row, session);
    }
    return { granted: false, holder: undefined };
  }

  /** What an acquiring statement answers; `undefined` when a transaction keeps the row locked, as `guard` does. */
  async #try(what: string, sql: string): Promise<bigint | undefined> {
    try {
      const attempt = this.#executor.run(what, sql, (error) => isConflict(error) && !isLockWaitTimeout(error));
      return (await attempt.catch((error) => this.#failed(error))).insertId;
    } catch (error) {
      if (error instanceof BackendError && isLockWaitTimeout(error.cause)) return undefined;
      throw error;
    }
  }

  /** Whether losers may be spared the row lock: only where a subquery takes no locks itself, or a busy try would write. */
  #guarded(server: Server): boolean {
    const { pool } = this.#connector.target;
    return pool ? server.isolation === "READ-COMMITTED" || server.kind === "mariadb" : server.readCommitted;
  }

  /** Takes of several names what is free, in one statement, and reads what came of it. */
  async #takeEach(what: string, requests: AcquireRequest[], session: Session | undefined): Promise<OwnedRow[]> {
    const names = requests.map(({ name }) => name);
    const held = new Set((await this.#peekAll(what, names)).map(({ row }) => row.name));
    const wanted = requests.filter(({ name }) => !held.has(name));
    if (wanted.length > 0) await this.#run(what, this.#sql.acquire(wanted, false, session?.voucher));
    return await this.#peekAll(what, names);
  }

  /** Takes several names in one transaction: all of them or none. */
  async #takeAll(what: string, requests: AcquireRequest[], session: Session | undefined): Promise<OwnedRow[]> {
    const names = requests.map(({ name }) => name);
    const owners = new Map(requests.map(({ name, owner }) => [name, owner]));
    const isOurs = ({ row, owner }: OwnedRow) => owners.get(row.name) === owner;
    const before = await this.#peekAll(what, names);
    if (before.length === names.length || before.some((row) => !isOurs(row))) return before;
    const attempt = this.#executor.transaction(what, async (send) => {
      const result: OwnedRow[] = [];
      for (const some of chunks(requests)) {
        await send(this.#sql.acquire(some, false, session?.voucher));
        const { rows } = await send(this.#sql.peek(some.map(({ name }) => name), true));
        result.push(...rows.map(toOwnedRow));
        if (!result.every(isOurs)) break;
      }
      return { keep: result.length === names.length && result.every(isOurs), result };
    });
    return await attempt.catch((error) => this.#failed(error));
  }

  /** What a live row says to a request. */
  #answer(request: AcquireRequest, owned: OwnedRow | undefined, session: Session | undefined): AcquireAnswer {
    if (owned?.owner !== request.owner) {
      if (owned) remember(this.#contended, request.name, true);
      return { granted: false, holder: owned?.row };
    }
    remember(this.#granted, request.owner, owned.row);
    const lifeline = this.#sessions && (this.#sessions.lifelineOf(owned.session) ?? session?.lifeline);
    return { granted: true, row: owned.row, ...(lifeline ? { lifeline } : {}) };
  }

  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    await this.#ready(what);
    if (requests.length === 1) return [await this.#renewOne(what, requests[0])];
    const groups = Map.groupBy(sorted(requests), ({ from, add }) => `${from} ${add}`);
    const rows = new Map<string, OwnedRow>();
    for (const some of [...groups.values()].flatMap(chunks)) {
      await this.#run(what, this.#sql.renewAll(some));
      for (const owned of await this.#peekAll(what, some.map(({ name }) => name))) rows.set(owned.row.name, owned);
    }
    return requests.map(({ name, owner }) => this.#renewed(owner, rows.get(name)));
  }

  async #renewOne(what: string, request: RenewRequest): Promise<LockRow | undefined> {
    const { insertId: told } = await this.#run(what, this.#sql.renew(request));
    if (told === 0n) return undefined;
    const granted = request.owner === null ? undefined : this.#granted.get(request.owner);
    if (!granted || told === READ_THE_ROW) return this.#renewed(request.owner, await this.#peek(what, request.name));
    const now = Number(told);
    const { from, add } = request;
    const lockedUntil = add === null ? null : (from === "now" ? now : Number(from)) + add;
    const row = { ...granted, lockedUntil, updatedAt: now, now };
    remember(this.#granted, request.owner!, row);
    return row;
  }

  /** The row after a renewal; another's by now, or none, means that it is gone. */
  #renewed(owner: string | null, owned: OwnedRow | undefined): LockRow | undefined {
    if (!owned || (owner !== null && owned.owner !== owner)) return undefined;
    if (owner !== null) remember(this.#granted, owner, owned.row);
    return owned.row;
  }

  async release(targets: readonly Target[]): Promise<boolean[]> {
    const what = `release ${namesOf(targets)}`;
    await this.#ready(what);
    return await Promise.all(targets.map(async (target) => {
      const { affectedRows } = await this.#run(what, this.#sql.release(target));
      if (target.owner !== null) this.#granted.delete(target.owner);
      return affectedRows > 0;
    }));
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    await this.#ready("list locks");
    if (names) return (await this.#peekAll("list locks", names)).map(({ row }) => row);
    const { rows } = await this.#run("list locks", this.#sql.list(prefix, includeExpired));
    return rows.map((row) => toOwnedRow(row).row);
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = scope === "all" ? "remove every lock" : "clean up expired locks";
    await this.#ready(what);
    const found = async (sql: string) => (await this.#run(what, sql)).rows.map(([name]) => name!);
    let cleaned = 0;
    for (const names of chunks(await found(this.#sql.lapsed(scope)))) {
      cleaned += (await this.#run(what, this.#sql.clear(names, scope))).affectedRows;
    }
    for (const names of chunks(await found(this.#sql.stale()))) await this.#run(what, this.#sql.sweep(names));
    return cleaned;
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    await this.#ready(`wait for lock ${JSON.stringify(name)}`);
    return this.#polling.add(name, wake);
  }

  async #whichHeld(names: string[]): Promise<Set<string>> {
    const { rows } = await this.#run("wait for locks", this.#sql.held(names));
    const held = new Set(rows.map(([name]) => name!));
    for (const name of names) if (!held.has(name)) this.#contended.delete(name);
    return held;
  }

  async guard(claim: Claim, client: unknown): Promise<boolean> {
    const what = `guard lock ${JSON.stringify(claim.name)}`;
    const connection = connectionBehind(client);
    if (!connection) throw new TypeError(`Cannot ${what}: want the mysql2 connection of the open transaction`);
    const { database } = await this.#ready(what);
    const { table } = this.#connector.target.options;
    const { guard } = statementsFor(table.includes(".") ? table : `${database}.${table}`, this.mode === "hybrid");
    const answer = await send(connection, guard(claim)).catch((error) => {
      throw translate(what, error);
    });
    if (!answer.inTransaction) throw new TypeError(`Cannot ${what}: no transaction is open on the connection`);
    return answer.matchedRows > 0;
  }

  // deno-lint-ignore require-await -- the interface is asynchronous
  async [Symbol.asyncDispose](): Promise<void> {
    this.#sessions?.close();
    this.#executor.close();
    this.#connector.close();
    this.#polling.close();
  }

  /** One statement; a table that somebody dropped is made again by the next call. */
  async #run(what: string, sql: string) {
    return await this.#executor.run(what, sql).catch((error) => this.#failed(error));
  }

  async #peek(what: string, name: string): Promise<OwnedRow | undefined> {
    return (await this.#peekAll(what, [name]))[0];
  }

  async #peekAll(what: string, names: readonly string[]): Promise<OwnedRow[]> {
    const answers = await Promise.all(chunks(names).map((some) => this.#run(what, this.#sql.peek(some))));
    return answers.flatMap(({ rows }) => rows.map(toOwnedRow));
  }

  /** Makes sure of the server and the table, once, and again after a failure. */
  #ready(what: string): Promise<Server> {
    if (this.#prepared === undefined) {
      const attempt = this.#prepared = this.#prepare(what);
      attempt.catch(() => {
        if (this.#prepared === attempt) this.#prepared = undefined;
      });
    }
    return this.#prepared;
  }

  async #prepare(what: string): Promise<Server> {
    const { table, migrate } = this.#connector.target.options;
    const server = describe([
      await this.#executor.run(what, QUESTIONS[0]),
      await this.#executor.run(what, QUESTIONS[1]),
    ]);
    requireServer(server, this.mode, table);
    const { rows } = await this.#executor.run(what, columnsOf(table));
    if (hasTable(table, rows)) return server;
    if (!migrate) {
      throw new BackendError(
        `Cannot ${what}: table ${JSON.stringify(table)} does not exist or may not be used, and "migrate" is off`,
      );
    }
    await this.#executor.run(what, schema(table));
    return server;
  }

  #failed(error: unknown): never {
    if (error instanceof BackendError && isMissingTable(error.cause)) this.#prepared = undefined;
    throw error;
  }
}

/** The row that a statement has just written, from the one number that it answers. */
function freshRow(request: AcquireRequest, token: bigint, session: Session | undefined): OwnedRow {
  const now = Number(token);
  const { name, owner, duration, lockedBy, lockProcess, metadata } = request;
  const lockedUntil = duration === null ? null : now + duration;
  const row: LockRow = {
    name,
    token,
    lockedBy,
    lockProcess,
    lockedUntil,
    createdAt: now,
    updatedAt: now,
    metadata,
    now,
  };
  if (!session) return { owner, row, session: null };
  const { name: vouching, connectionId } = session.voucher;
  return { owner, row: { ...row, session: String(connectionId) }, session: vouching };
}
