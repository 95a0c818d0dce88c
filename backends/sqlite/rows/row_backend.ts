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

  #read<T>(what: string, work: () => T): Promise<T> {
    return this.#withTable(what, () => this.#connection.attempt(what, work));
  }

  #write<T>(what: string, work: () => T): Promise<T> {
    return this.#withTable(what, () => this.#connection.write(what, "FULL", work));
  }

  #renew(request: RenewRequest): LockRow | undefined {
    const { name, owner, from, add } = request;
    const statement = this.#connection.prepare(this.#sql.renew);
    const row = statement.get(name, ownerText(owner), String(from), add) as SqliteRow | undefined | null;
    return row ? holdersOf(row, true)[0] : this.#queue.renew(request);
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
    const row = this.#connection.prepare(this.#sql.selectTurn).get(owner, name) as
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
