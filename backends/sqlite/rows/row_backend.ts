import { namesOf, ownerText } from "../../../core/util/requests.ts";
import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockRef,
  LockRow,
  NextHolder,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { BackendError } from "../../../core/errors.ts";
import type { Connection } from "../connection/connection.ts";
import { isMissingTable } from "../errors.ts";
import { diagnose } from "../diagnose.ts";
import { Queue } from "../queue/queue.ts";
import { holdersOf } from "../queue/stored_line.ts";
import type { SqliteRow } from "./rows.ts";
import { findTable, homeOf, schema, upgrade } from "../schema.ts";
import { statementsFor } from "./statements.ts";
import { once } from "../../../core/util/once.ts";
import { defer } from "../../../core/util/runtime.ts";
import { byCodePoint } from "../../../core/util/order.ts";
import { acquire } from "./acquire.ts";
import { guard, guardHandle } from "./guard.ts";
import { release } from "./release.ts";
import type { RowParts } from "./row_parts.ts";
import { type Turn, Waiters } from "../wakeup/waiters.ts";

/** Locks as rows of a table in an SQLite database. */
export class RowBackend implements Backend {
  readonly engine = "sqlite";
  readonly mode = "lease";
  readonly queueing = true;
  readonly keeping = true;
  readonly #connection: Connection;
  readonly #table: string;
  readonly #migrate: boolean;
  readonly #parts: RowParts;
  readonly #waiters: Waiters;
  readonly #ready = once((what: string) => this.#prepare(what));
  #version: string | undefined;

  constructor(connection: Connection, table: string, migrate: boolean) {
    this.#connection = connection;
    this.#table = table;
    this.#migrate = migrate;
    const sql = statementsFor(table);
    this.#parts = { connection, sql, queue: new Queue(connection, sql) };
    this.#waiters = new Waiters(() => this.#changed(), (name, owner) => this.#turn(name, owner));
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    this.#connection.refuseTransaction(what);
    const answers = await this.#withTable(what, () => acquire(this.#parts, what, requests, allOrNothing));
    answers.forEach((answer, index) => this.#waiters.noteAnswer(requests[index], answer));
    this.#connection.file?.checkMain(what);
    return answers;
  }

  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    const rows = await this.#write(what, () => requests.map((request) => this.#renew(request)));
    this.#connection.file?.check(what);
    return rows;
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const what = `release ${namesOf(targets)}`;
    const byForce = targets.some(({ owner }) => typeof owner !== "string");
    try {
      const released = await this.#withTable(what, () => release(this.#parts, what, targets));
      if (byForce) this.#waiters.wakeFree();
      this.#connection.file?.checkUnlessRecent(what);
      return released;
    } catch (error) {
      if (byForce || !this.#connection.file?.ended) throw error;
      return targets.map(() => false); // the locks were lost with the file
    }
  }

  async adopt(lock: OwnedLock, { owner, lockedBy, lockProcess }: NextHolder): Promise<void> {
    const what = `adopt ${namesOf([lock])}`;
    await this.#write(what, () => this.#parts.queue.adopt(lock, { owner, lockedBy, lockProcess }));
    this.#connection.file?.check(what);
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const what = "list locks";
    const read = () => {
      const [sql, wanted] = names ? [this.#parts.sql.listNames, JSON.stringify(names)] : [this.#parts.sql.list, prefix];
      const found = this.#connection.prepare(sql).all(includeExpired ? 1 : 0, wanted) as SqliteRow[];
      return found.flatMap((row) => holdersOf(row, includeExpired));
    };
    const rows = await this.#withTable(what, () => this.#connection.attempt(what, read));
    this.#connection.file?.check(what);
    return this.#connection.utf8 ? rows : rows.sort((one, two) => byCodePoint(one.name, two.name));
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = scope === "all" ? "remove every lock" : "clean up expired locks";
    const cleaned = await this.#write(what, () => {
      // Plain rows first: what is granted to waiters stays.
      const plain = this.#connection.run(this.#parts.sql.clean, scope === "all" ? 1 : 0);
      const cleaned = plain + this.#parts.queue.clean(scope);
      this.#connection.run(this.#parts.sql.sweep);
      return cleaned;
    });
    this.#waiters.wakeFree();
    this.#connection.file?.check(what);
    return cleaned;
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    await this.#ready(`wait for lock ${JSON.stringify(name)}`);
    return this.#waiters.add(name, wake);
  }

  // deno-lint-ignore require-await -- an error must reject
  async guard(claim: OwnedLock, client: unknown): Promise<boolean> {
    this.#connection.file?.check(`guard lock ${JSON.stringify(claim.name)}`);
    return guard(claim, client, this.#parts.sql.guard);
  }

  guardSync(claim: OwnedLock, client: unknown): boolean {
    this.#connection.file?.check(`guard lock ${JSON.stringify(claim.name)}`);
    return guardHandle(claim, client, this.#parts.sql.guard);
  }

  diagnose(): Promise<Diagnostic[]> {
    const what = "diagnose the database";
    return this.#connection.attempt(what, () => diagnose(this.#connection, this.#table));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      this.#connection.close();
      this.#waiters.close();
      await new Promise<void>(defer); // calls that yielded to the event loop before find the connection closed
    });
  }

  async #prepare(what: string): Promise<void> {
    const there = await this.#connection.attempt(what, () => {
      this.#connection.home = homeOf(this.#connection, this.#table);
      return findTable(this.#connection, this.#table);
    });
    if (there === "present") return;
    if (!this.#migrate) {
      const lack = there === "old" ? "is of an earlier version" : "does not exist";
      throw new BackendError(`Cannot ${what}: table ${JSON.stringify(this.#table)} ${lack}, and "migrate" is off`);
    }
    await this.#connection.write(what, "FULL", () => {
      const found = findTable(this.#connection, this.#table); // another process may have been faster
      if (found !== "present") this.#connection.database.exec((found === "old" ? upgrade : schema)(this.#table));
    });
  }

  #write<T>(what: string, work: () => T): Promise<T> {
    return this.#withTable(what, () => this.#connection.write(what, "FULL", work));
  }

  #renew(request: RenewRequest): LockRow | undefined {
    const { name, owner, from, add } = request;
    const statement = this.#connection.prepare(this.#parts.sql.renew);
    const row = statement.get(name, ownerText(owner), String(from), add) as SqliteRow | undefined | null;
    return row ? holdersOf(row, true)[0] : this.#parts.queue.renew(request);
  }

  /** Does `work` once the table is there; a table that was dropped is created again by the next call. */
  async #withTable<T>(what: string, work: () => Promise<T>): Promise<T> {
    await this.#ready(what);
    try {
      return await work();
    } catch (error) {
      if (error instanceof BackendError && isMissingTable(error.cause)) this.#ready.clear();
      throw error;
    }
  }

  #turn(name: string, owner: string): Turn | undefined {
    const row = this.#connection.prepare(this.#parts.sql.selectTurn).get(owner, name) as
      | { left: string | null; ahead: string | null }
      | undefined
      | null;
    if (!row || row.ahead === null) return undefined;
    return { ahead: Number(row.ahead), left: row.left === null ? Infinity : Number(row.left) / 1e3 };
  }

  /** `data_version` counts commits of other connections only: the owner of this handle may commit on it, too. */
  #changed(): boolean {
    this.#connection.file?.checkUnlessRecent("wait for a lock");
    const version = this.#connection.pragma(this.#connection.atHome("data_version")) + this.#ownChanges();
    const changed = version !== this.#version;
    this.#version = version;
    return changed;
  }

  #ownChanges(): string {
    if (this.#connection.owned) return "";
    const { changes } = this.#connection.prepare("SELECT total_changes() AS changes").get() as { changes: unknown };
    return `/${changes}`;
  }
}
