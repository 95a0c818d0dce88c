import { namesOf, ownerText } from "../../../core/util/requests.ts";
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
import type { Connection } from "../connection/connection.ts";
import { isMissingTable } from "../errors.ts";
import { diagnose } from "../diagnose.ts";
import { byCodePoint } from "../connection/handle.ts";
import { type SqliteRow, toLockRow } from "./rows.ts";
import { hasTable, homeOf, schema } from "../schema.ts";
import { type Statements, statementsFor } from "./statements.ts";
import { once } from "../../../core/util/once.ts";
import { Acquirer } from "./acquire.ts";
import { guard, guardHandle } from "./guard.ts";
import { Releaser } from "./release.ts";
import { Waiters } from "../wakeup/waiters.ts";

/** Locks as rows of a table in an SQLite database. */
export class RowBackend implements Backend {
  readonly engine = "sqlite";
  readonly mode = "lease";
  readonly #connection: Connection;
  readonly #table: string;
  readonly #migrate: boolean;
  readonly #sql: Statements;
  readonly #acquirer: Acquirer;
  readonly #releaser: Releaser;
  readonly #waiters: Waiters;
  readonly #ready = once((what: string) => this.#prepare(what));
  #version: string | undefined;

  constructor(connection: Connection, table: string, migrate: boolean) {
    this.#connection = connection;
    this.#table = table;
    this.#migrate = migrate;
    this.#sql = statementsFor(table);
    this.#acquirer = new Acquirer(connection, this.#sql);
    this.#releaser = new Releaser(connection, this.#sql);
    this.#waiters = new Waiters({
      changed: () => this.#changed(),
      isFree: (name) => this.#acquirer.selectHolder(name) === undefined,
    });
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    this.#connection.refuseTransaction(what);
    const answers = await this.#withTable(what, () => this.#acquirer.acquire(what, requests, allOrNothing));
    this.#connection.file?.checkMain(what);
    return answers;
  }

  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    const rows = await this.#write(what, () => {
      const statement = this.#connection.prepare(this.#sql.renew);
      return requests.map(({ name, owner, from, add }) => {
        const row = statement.get(name, ownerText(owner), String(from), add) as SqliteRow | undefined | null;
        return row ? toLockRow(row) : undefined;
      });
    });
    this.#connection.file?.check(what);
    return rows;
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const what = `release ${namesOf(targets)}`;
    const byForce = targets.some(({ owner }) => typeof owner !== "string");
    try {
      const released = await this.#withTable(what, () => this.#releaser.release(what, targets));
      if (byForce) this.#waiters.wakeFree();
      for (const [index, { name }] of targets.entries()) if (released[index]) this.#acquirer.noteReleased(name);
      this.#connection.file?.checkUnlessRecent(what);
      return released;
    } catch (error) {
      if (byForce || !this.#connection.file?.ended) throw error;
      return targets.map(() => false); // the locks were lost with the file
    }
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const rows = await this.#read("list locks", () => {
      const expired = includeExpired ? 1 : 0;
      const found = names
        ? this.#connection.prepare(this.#sql.listNames).all(expired, JSON.stringify(names))
        : this.#connection.prepare(this.#sql.list).all(expired, prefix);
      return (found as SqliteRow[]).map(toLockRow);
    });
    this.#connection.file?.check("list locks");
    return this.#connection.utf8 ? rows : rows.sort((one, two) => byCodePoint(one.name, two.name));
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = scope === "all" ? "remove every lock" : "clean up expired locks";
    const cleaned = await this.#write(what, () => {
      const cleaned = this.#connection.run(this.#sql.clean, scope === "all" ? 1 : 0);
      this.#connection.run(this.#sql.sweep);
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
    return guard(claim, client, this.#sql.guard);
  }

  guardSync(claim: OwnedLock, client: unknown): boolean {
    this.#connection.file?.check(`guard lock ${JSON.stringify(claim.name)}`);
    return guardHandle(claim, client, this.#sql.guard);
  }

  diagnose(): Promise<Diagnostic[]> {
    const what = "diagnose the database";
    return this.#connection.attempt(what, () => diagnose(this.#connection, this.#table));
  }

  [Symbol.asyncDispose](): Promise<void> {
    // deno-lint-ignore require-await -- the interface is asynchronous, SQLite is not
    return closeLocks(this, async () => {
      this.#connection.close();
      this.#waiters.close();
    });
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

  #read<T>(what: string, work: () => T): Promise<T> {
    return this.#withTable(what, () => this.#connection.attempt(what, work));
  }

  #write<T>(what: string, work: () => T): Promise<T> {
    return this.#withTable(what, () => this.#connection.write(what, "FULL", work));
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
