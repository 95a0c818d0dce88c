import { BackendError } from "../../../core/errors.ts";
import { monotonic, sleep, yieldToEventLoop } from "../../../core/util/runtime.ts";
import type { DatabaseFile } from "./database_file.ts";
import { inTransaction, type SqliteDatabase, type SqliteStatement } from "./driver.ts";
import { insideTransaction, isBusy, translate } from "../errors.ts";
import { inspectHandle, requireWritableHandle, withNames } from "./handle.ts";

/** How safely a commit is written: `FULL` reaches the disk before it returns, `NORMAL` at the next checkpoint. */
export type Durability = "FULL" | "NORMAL";

/** Pauses while another process has the file locked (ms): from the first to the last, growing by half, with jitter. */
const PAUSE_FIRST = 0.5;
const PAUSE_LAST = 10;

/**
 * The log is cut to this size (bytes) when it starts again from its beginning. A reader that stays keeps it growing, and
 * without a limit it keeps its largest size until the last client closes. SQLite starts again after about 4 MB.
 */
const JOURNAL_SIZE_LIMIT = 4_194_304;

/** The settings of a lent handle that are changed for a moment, and put back. */
interface Settings {
  readonly busyTimeout: string;
  /** Of the database that had the table before: `work` may find it in another. */
  readonly synchronous: { readonly name: string; readonly value: string };
}

/**
 * One database handle, and the manners on it: nothing waits inside SQLite, where a wait stops the whole event loop;
 * what finds the file locked is tried again after a pause. A handle that was lent has its settings put back.
 */
export class Connection {
  /** The handle. */
  readonly database: SqliteDatabase;
  /** Whether the handle was opened here. */
  readonly owned: boolean;
  /** The file of the lock table, where it is in a file that can be looked at. */
  file: DatabaseFile | undefined;
  /** The database on the handle that has the lock table; settings are those of this one. */
  home = "main";
  readonly #path: string | undefined;
  readonly #busyTimeout: number;
  readonly #prepared = new Map<string, SqliteStatement>();
  #arrays = false;
  #utf8 = true;
  #synchronous: Durability | undefined;
  readonly #closing = new AbortController();

  /** Made for a handle that was opened here from `path`, or for a lent one without it. */
  constructor(database: SqliteDatabase, path: string | undefined, busyTimeout: number) {
    const owned = path !== undefined;
    this.database = database;
    this.owned = owned;
    this.#path = path;
    this.#busyTimeout = busyTimeout * 1e3;
    if (owned) database.exec(`PRAGMA busy_timeout = 0; PRAGMA journal_size_limit = ${JOURNAL_SIZE_LIMIT}`);
  }

  /** Whether the database compares names by code point, as only UTF-8 text is. */
  get utf8(): boolean {
    return this.#utf8;
  }

  /**
   * Finds out how the handle returns rows. Comes before every other statement.
   *
   * @throws {UnsupportedError} When the handle cannot be used.
   */
  async inspect(what: string): Promise<void> {
    const { arrays, utf8 } = await this.#retry(what, () => inspectHandle(this.database));
    this.#arrays = arrays;
    this.#utf8 = utf8;
  }

  /** A statement, prepared once. */
  prepare(sql: string): SqliteStatement {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#arrays ? withNames(this.database.prepare(sql)) : this.database.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }

  /** The name of a setting of the lock table's database. */
  atHome(name: string): string {
    return `"${this.home.replaceAll('"', '""')}".${name}`;
  }

  /** The value of a setting, in lower case. */
  pragma(name: string): string {
    return String(Object.values(this.prepare(`PRAGMA ${name}`).get() as object)[0]).toLowerCase();
  }

  /** Runs a statement that answers no rows, and says how many it changed. */
  run(sql: string, ...parameters: unknown[]): number {
    const result = this.prepare(sql).run(...parameters) as number | { changes: number | bigint };
    return Number(typeof result === "object" ? result.changes : result);
  }

  /** Runs `work`, again and again while the file is locked, and names what fails. */
  attempt<T>(what: string, work: () => T): Promise<T> {
    return this.#retry(what, () => this.owned ? work() : this.#politely(work));
  }

  /** Runs `work` as one write transaction that takes the write lock at once; what is not to be kept is undone. */
  write<T>(what: string, durability: Durability, work: () => T, keep?: (result: T) => boolean): Promise<T> {
    return this.attempt(what, () => {
      if (!this.owned) this.#requireWritable(what);
      this.#setSynchronous(durability);
      this.run("BEGIN IMMEDIATE");
      try {
        const result = work();
        this.run(keep === undefined || keep(result) ? "COMMIT" : "ROLLBACK");
        return result;
      } catch (error) {
        this.#rollBack();
        throw error;
      }
    });
  }

  /** Closes a handle that was opened here; a lent one stays open. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.file?.close();
    for (const statement of this.#prepared.values()) (statement as { finalize?(): void }).finalize?.();
    this.#prepared.clear();
    if (this.owned) this.database.close();
  }

  /**
   * Refuses a lent handle on which the program has a transaction open: what is read there may be old, and what is
   * written there is undone with it.
   */
  refuseTransaction(what: string): void {
    if (!this.owned && inTransaction(this.database)) throw insideTransaction(what);
  }

  async #retry<T>(what: string, work: () => T): Promise<T> {
    const breath = yieldToEventLoop();
    if (breath) await breath;
    const startedAt = monotonic();
    for (let pause = PAUSE_FIRST;; pause = Math.min(pause * 1.5, PAUSE_LAST)) {
      if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
      if (this.file?.ended) this.file.check(what, false);
      try {
        return work();
      } catch (error) {
        if (!isBusy(error) || monotonic() - startedAt >= this.#busyTimeout) throw this.#explain(what, error);
      }
      await sleep(pause * (0.5 + Math.random()), this.#closing.signal).catch(() => {}); // the next round says why
    }
  }

  /** The error of this library for one of the driver's: a file that is gone explains every other. */
  #explain(what: string, error: unknown): Error {
    try {
      this.file?.check(what, true);
    } catch (gone) {
      return gone as Error;
    }
    return translate(what, error, this.file?.path ?? this.#path);
  }

  #requireWritable(what: string): void {
    this.refuseTransaction(what);
    requireWritableHandle(what, (name) => this.pragma(this.atHome(name)), this.file !== undefined);
  }

  #setSynchronous(durability: Durability): void {
    if (this.owned && this.#synchronous === durability) return;
    this.database.exec(`PRAGMA ${this.atHome("synchronous")} = ${durability}`);
    this.#synchronous = durability;
  }

  /** SQLite may have rolled back by itself already. */
  #rollBack(): void {
    try {
      this.database.exec("ROLLBACK");
    } catch {
      // The first error is the one to tell of.
    }
  }

  /** Runs `work` on a handle that was lent, without its busy timeout, and puts its settings back. */
  #politely<T>(work: () => T): T {
    const name = this.atHome("synchronous");
    const settings = { busyTimeout: this.pragma("busy_timeout"), synchronous: { name, value: this.pragma(name) } };
    this.database.exec("PRAGMA busy_timeout = 0");
    let result: T;
    try {
      result = work();
    } catch (error) {
      try {
        this.#restore(settings);
      } catch {
        // A handle that was closed has no settings any more: the first error says so.
      }
      throw error;
    }
    this.#restore(settings);
    return result;
  }

  #restore({ busyTimeout, synchronous }: Settings): void {
    this.database.exec(`PRAGMA busy_timeout = ${busyTimeout}`);
    if (!inTransaction(this.database)) this.database.exec(`PRAGMA ${synchronous.name} = ${synchronous.value}`);
  }
}
