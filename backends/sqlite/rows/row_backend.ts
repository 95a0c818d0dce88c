import { namesOf } from "../../../core/util/requests.ts";
import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockRef,
  LockRow,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { BackendError } from "../../../core/errors.ts";
import type { Connection, Durability } from "../connection/connection.ts";
import { inTransaction, isDatabase } from "../connection/driver.ts";
import { isMissingTable, translate } from "../errors.ts";
import { diagnose } from "../diagnose.ts";
import { byCodePoint } from "../connection/handle.ts";
import { type SqliteRow, toLockRow } from "./rows.ts";
import { hasTable, homeOf, schema } from "../schema.ts";
import { type Statements, statementsFor } from "./statements.ts";
import { Taking } from "./acquire.ts";
import { Watching } from "../wakeup/waiters.ts";

/** A lock table in an SQLite database. */
export class SqliteBackend implements Backend {
  readonly engine = "sqlite";
  readonly mode = "lease";
  readonly #connection: Connection;
  readonly #table: string;
  readonly #migrate: boolean;
  readonly #sql: Statements;
  readonly #taking: Taking;
  readonly #watching: Watching;
  #prepared: Promise<void> | undefined;
  #version: string | undefined;

  constructor(connection: Connection, table: string, migrate: boolean) {
    this.#connection = connection;
    this.#table = table;
    this.#migrate = migrate;
    this.#sql = statementsFor(table);
    this.#taking = new Taking(connection, this.#sql);
    this.#watching = new Watching({
      changed: () => this.#changed(),
      isFree: (name) => this.#taking.peek(name) === undefined,
    });
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    this.#connection.refuseTransaction(what);
    const answers = await this.#acquire(what, requests, allOrNothing);
    this.#connection.file?.check(what, false);
    return answers;
  }

  async #acquire(what: string, requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    if (!allOrNothing && this.#taking.expectsAllOf(requests)) {
      const all = await this.#write(what, "FULL", () => this.#taking.takeAll(requests), (all) => all !== undefined);
      if (all) return all;
    }
    const foreseen = await this.#read(what, () => this.#taking.foresee(requests, allOrNothing));
    return foreseen ?? await this.#write(what, "FULL", () => this.#taking.take(requests, allOrNothing));
  }

  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    const rows = await this.#write(what, "FULL", () => {
      const statement = this.#connection.prepare(this.#sql.renew);
      return requests.map(({ name, owner, from, add }) => {
        const row = statement.get(name, owner, String(from), add) as SqliteRow | undefined | null;
        return row ? toLockRow(row) : undefined;
      });
    });
    this.#connection.file?.check(what, true);
    return rows;
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const what = `release ${namesOf(targets)}`;
    const claims = targets.filter((target): target is OwnedLock => target.owner !== null);
    try {
      const released = await this.#release(what, targets, claims);
      if (claims.length < targets.length) this.#watching.check();
      this.#connection.file?.checkUnlessRecent(what);
      return released;
    } catch (error) {
      if (claims.length < targets.length || !this.#connection.file?.ended) throw error;
      return targets.map(() => false); // the locks were lost with the file
    }
  }

  async #release(what: string, targets: readonly LockRef[], claims: readonly OwnedLock[]): Promise<boolean[]> {
    const released = await this.#releaseShort(what, targets, claims);
    const others = targets.filter((_, index) => !released[index]);
    if (others.length === 0) return released;
    const durably = (await this.#write(what, "FULL", () => this.#taking.free(others))).values();
    return released.map((done) => done || durably.next().value!);
  }

  /**
   * Releases leases with little time left, without waiting for the disk: a power failure that undoes this leaves a lock
   * that expires soon.
   */
  async #releaseShort(what: string, targets: readonly LockRef[], claims: readonly OwnedLock[]): Promise<boolean[]> {
    if (targets.length === 1 || claims.length < targets.length) {
      return await this.#write(what, "NORMAL", () => this.#taking.freeShort(targets));
    }
    const all = await this.#write(what, "NORMAL", () => this.#taking.freeAllShort(claims), (all) => all);
    return targets.map(() => all);
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const rows = await this.#read("list locks", () => {
      const found = names
        ? this.#connection.prepare(this.#sql.listNames).all(JSON.stringify(names))
        : this.#connection.prepare(this.#sql.list).all(includeExpired ? 1 : 0, prefix);
      return (found as SqliteRow[]).map(toLockRow);
    });
    this.#connection.file?.check("list locks", true);
    return this.#connection.utf8 ? rows : rows.sort((one, two) => byCodePoint(one.name, two.name));
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = scope === "all" ? "remove every lock" : "clean up expired locks";
    const cleaned = await this.#write(what, "FULL", () => {
      const cleaned = this.#connection.run(this.#sql.clean, scope === "all" ? 1 : 0);
      this.#connection.run(this.#sql.sweep);
      return cleaned;
    });
    this.#watching.check();
    this.#connection.file?.check(what, true);
    return cleaned;
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    await this.#ready(`wait for lock ${JSON.stringify(name)}`);
    return this.#watching.add(name, wake);
  }

  // deno-lint-ignore require-await -- what is thrown must reject
  async guard({ name, owner }: OwnedLock, client: unknown): Promise<boolean> {
    const what = `guard lock ${JSON.stringify(name)}`;
    if (!isDatabase(client)) throw new TypeError(`Cannot ${what}: want the database handle of the open transaction`);
    if (inTransaction(client) === false) throw new TypeError(`Cannot ${what}: no transaction is open on the handle`);
    try {
      this.#connection.file?.check(what, true);
      return Boolean(client.prepare(this.#sql.guard).get(name, owner));
    } catch (error) {
      throw translate(what, error);
    }
  }

  diagnose(): Promise<Diagnostic[]> {
    const what = "diagnose the database";
    return this.#connection.attempt(what, () => diagnose(this.#connection, this.#table));
  }

  [Symbol.asyncDispose](): Promise<void> {
    // deno-lint-ignore require-await -- the interface is asynchronous, SQLite is not
    return closeLocks(this, async () => {
      this.#connection.close();
      this.#watching.close();
    });
  }

  /** Makes sure of the table, once, and again after a failure. */
  #ready(what: string): Promise<void> {
    if (this.#prepared === undefined) {
      const attempt = this.#prepared = this.#prepare(what);
      attempt.catch(() => {
        if (this.#prepared === attempt) this.#prepared = undefined;
      });
    }
    return this.#prepared;
  }

  async #prepare(what: string): Promise<void> {
    const there = await this.#connection.attempt(what, () => {
      this.#connection.home = homeOf(this.#connection, this.#table);
      return hasTable(this.#connection, this.#table);
    });
    if (there) return;
    if (!this.#migrate) {
      throw new BackendError(
        `Cannot ${what}: table ${JSON.stringify(this.#table)} does not exist, and "migrate" is off`,
      );
    }
    await this.#connection.write(what, "FULL", () => this.#connection.database.exec(schema(this.#table)));
  }

  async #read<T>(what: string, work: () => T): Promise<T> {
    await this.#ready(what);
    return await this.#connection.attempt(what, work).catch((error) => this.#failed(error));
  }

  async #write<T>(what: string, durability: Durability, work: () => T, keep?: (result: T) => boolean): Promise<T> {
    await this.#ready(what);
    return await this.#connection.write(what, durability, work, keep).catch((error) => this.#failed(error));
  }

  /** A table that somebody dropped is made again by the next call. */
  #failed(error: unknown): never {
    if (error instanceof BackendError && isMissingTable(error.cause)) this.#prepared = undefined;
    throw error;
  }

  /** `data_version` tells of commits on other connections only: on a lent handle others may commit beside us. */
  #changed(): boolean {
    this.#connection.file?.check("wait for a lock", false);
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
