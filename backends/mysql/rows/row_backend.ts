import { namesOf } from "../../../core/util/requests.ts";
import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockActivity,
  LockRef,
  LockRow,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { within } from "../connection/abandoned.ts";
import { Acquiring, type UnderWay } from "./acquire.ts";
import { chunks, sorted } from "./chunks.ts";
import type { Connector } from "../connection/connector.ts";
import { connectionBehind, send } from "../connection/driver.ts";
import { Doubts } from "./doubts.ts";
import { translate } from "../errors.ts";
import { diagnose } from "../diagnose.ts";
import { LockTable } from "./lock_table.ts";
import { Memory } from "./name_hints.ts";
import { Polling } from "../wakeup/polling.ts";
import { Releasing } from "./release.ts";
import { Renewing } from "./renew.ts";
import { RowLocks } from "./row_locks.ts";
import { toOwnedRow } from "./rows.ts";
import { clusterOf } from "../connection/server.ts";
import { turnName } from "../session/session_keys.ts";
import type { Liveness } from "../../sessions/liveness.ts";
import { statementsFor } from "./statements.ts";
import { Turns, type TurnSource } from "../wakeup/tickets.ts";
import { holdersOfRows, observations } from "./lock_activity.ts";

/** How long (ms) a disposal waits until what is under way has ended at the server, after the core has waited for it. */
const CLOSE_MS = 400;

/** How many connections a caller's pool is taken to have. */
const LENT_CONNECTIONS = 4;

/** A lock table in a MySQL or MariaDB database: `lease`, and `hybrid` when there are sessions to vouch for the rows. */
export class RowBackend implements Backend {
  readonly engine = "mysql";
  readonly mode: "lease" | "hybrid";
  readonly #connector: Connector;
  readonly #liveness: Liveness | undefined;
  readonly #table: LockTable;
  readonly #memory = new Memory();
  readonly #locks: RowLocks;
  readonly #releasing: Releasing;
  readonly #doubts: Doubts;
  readonly #acquiring: Acquiring;
  readonly #renewing: Renewing;
  readonly #polling: Polling;
  readonly #turns: Turns;

  constructor(connector: Connector, liveness?: Liveness) {
    this.mode = liveness ? "hybrid" : "lease";
    this.#connector = connector;
    this.#liveness = liveness;
    this.#table = new LockTable(connector, this.mode);
    const { pool, options } = connector.target;
    this.#locks = new RowLocks(pool ? LENT_CONNECTIONS : options.maxConnections);
    this.#releasing = new Releasing(
      this.#table,
      this.#memory,
      this.#locks,
      () => this.#doubts,
      (name) => this.#passOn(name),
    );
    this.#doubts = new Doubts(connector.abandoned, async (claim) => {
      const what = `release ${namesOf([claim])}`;
      return await this.#releasing.one(what, claim, await this.#table.ready(what));
    });
    this.#acquiring = new Acquiring(
      this.#table,
      this.#memory,
      pool !== undefined,
      liveness,
      this.#doubts,
    );
    this.#renewing = new Renewing(this.#table, this.#memory, this.#locks);
    this.#polling = new Polling((names) => this.#whichHeld(names));
    this.#turns = new Turns(this.#turnSource(), this.#polling);
  }

  /** Makes sure that the server can be reached, keeps the promise and has the table. */
  async open(): Promise<void> {
    await this.#table.ready("connect");
    await this.#liveness?.lock();
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const answers = await this.#acquiring.acquire(requests, allOrNothing);
    requests.forEach(({ name }, index) => {
      if (this.#polling.isAwaited(name)) this.#turns.heard(name, answers[index].granted || this.#memory.isOurs(name));
    });
    return answers;
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return this.#renewing.renew(requests);
  }

  release(targets: readonly LockRef[]): Promise<boolean[]> {
    return this.#releasing.release(targets);
  }

  /**
   * Lets the next process have its turn while the release is still under way: its statement waits for this one's commit
   * within the server. Where others are in line, the next of this process will find one of them to hold the name.
   */
  #passOn(name: string): void {
    if (this.#turns.pass(name)) this.#memory.noteContended(name);
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    await this.#table.ready("list locks");
    if (names) return (await this.#table.listAll("list locks", names)).map(({ row }) => row);
    const { rows } = await this.#table.run("list locks", this.#table.sql.list(prefix, includeExpired));
    return sorted(rows.map((row) => toOwnedRow(row).row));
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = scope === "all" ? "remove every lock" : "clean up expired locks";
    await this.#table.ready(what);
    const found = async (sql: string) => (await this.#table.run(what, sql)).rows.map(([name]) => name!);
    let cleaned = 0;
    for (const names of chunks(await found(this.#table.sql.lapsed(scope)))) {
      cleaned += (await this.#table.run(what, this.#table.sql.clear(names, scope))).affectedRows;
    }
    for (const names of chunks(await found(this.#table.sql.stale()))) {
      await this.#table.run(what, this.#table.sql.sweep(names));
    }
    return cleaned;
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    await this.#table.ready(`wait for lock ${JSON.stringify(name)}`);
    const watch = this.#polling.add(name, wake);
    return {
      [Symbol.dispose]: () => {
        watch[Symbol.dispose]();
        this.#turns.left(name);
      },
    };
  }

  #turnSource(): TurnSource {
    const { pool, options } = this.#connector.target;
    const what = "wait for locks";
    return {
      connections: pool ? 0 : options.maxConnections,
      nameOfTurn: async (name) => {
        const server = await this.#table.ready(what);
        return clusterOf(server) ? undefined : turnName(server, options.table, name);
      },
      borrow: (work) => this.#table.borrow(what, work),
      look: (name) => this.#table.sql.held([name]),
      noteFree: (name) => this.#memory.noteFree(name),
    };
  }

  async #whichHeld(names: string[]): Promise<Set<string>> {
    const { rows } = await this.#table.run("wait for locks", this.#table.sql.held(names));
    const held = new Set(rows.map(([name]) => name!));
    for (const name of names) if (!held.has(name)) this.#memory.noteFree(name);
    return held;
  }

  async observe(names: readonly string[]): Promise<LockActivity[]> {
    const what = "tell who holds";
    await this.#table.ready(what);
    const question = (some: readonly string[]) => holdersOfRows(this.#connector.target.options.table, some);
    const answers = await Promise.all(chunks(names).map((some) => this.#table.run(what, question(some))));
    return observations(names, answers.flatMap(({ rows }) => rows));
  }

  async guard(claim: OwnedLock, client: unknown): Promise<boolean> {
    const what = `guard lock ${JSON.stringify(claim.name)}`;
    const connection = connectionBehind(client);
    if (!connection) throw new TypeError(`Cannot ${what}: want the mysql2 connection of the open transaction`);
    const { database } = await this.#table.ready(what);
    const { table } = this.#connector.target.options;
    const { guard } = statementsFor(table.includes(".") ? table : `${database}.${table}`, this.mode === "hybrid");
    try {
      const { rows } = await send(connection, guard(claim));
      const { inTransaction } = await send(connection, "DO 0"); // rows come without the connection's status
      if (!inTransaction) throw new TypeError(`Cannot ${what}: no transaction is open on the connection`);
      this.#locks.note([claim]);
      return rows.length > 0;
    } catch (error) {
      throw translate(what, error);
    }
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#connector, this.mode);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, () => this.#close());
  }

  async #close(): Promise<void> {
    const turns = this.#turns.close();
    const underWay = this.#acquiring.underWay;
    this.#table.close();
    this.#connector.close();
    this.#polling.close();
    const { abandoned } = this.#connector;
    await within(CLOSE_MS, this.#undo(underWay).catch(() => {})); // the server cannot be reached: they expire
    abandoned.stop();
    await turns;
  }

  /** Ends what is under way at the server, and gives back what it was granted: no caller will know of it. */
  async #undo(underWay: readonly UnderWay[]): Promise<void> {
    await Promise.allSettled(underWay.map(({ outcome }) => outcome));
    const { abandoned } = this.#connector;
    await abandoned.pending;
    const claims = underWay.flatMap(({ requests }) => requests);
    if (claims.length === 0) return;
    await abandoned.use(async (control) => {
      for (const some of chunks(sorted(claims))) await control.query(this.#table.sql.releaseAll(some));
    });
  }
}
