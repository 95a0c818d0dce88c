import { BackendError } from "../../../core/errors.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { deferBriefly, monotonic, sleep, yieldToEventLoop } from "../../../core/util/runtime.ts";
import type { DatabaseFile } from "./database_file.ts";
import { inTransaction, type SqliteDatabase, type SqliteStatement } from "./driver.ts";
import { insideTransaction, isBusy, translate } from "../errors.ts";
import { type Handle, inspectHandle, requireWritableHandle } from "./handle.ts";

/** How safely a commit is written: `FULL` reaches the disk before it returns, `NORMAL` at the next checkpoint. */
type Durability = "FULL" | "NORMAL";

/** For how long a locked file is tried again after brief pauses (ms): a transaction that skips the disk takes 0.1 ms. */
const EAGER_MS = 0.5;
/** Pauses while another process has the file locked (ms). */
const BUSY_PAUSE_MS = { first: 0.5, longest: 10, factor: 1.5, jitter: 1 };

/**
 * The log is truncated to this size (bytes) when SQLite starts it again, after about 4 MB. Otherwise a log that grew while
 * a reader stayed keeps its size until the last client closes.
 */
const JOURNAL_SIZE_LIMIT = 4_194_304;

/**
 * One database handle. Nothing waits inside SQLite, where a wait stops the event loop: a statement that finds the file
 * locked is repeated after a pause. An external handle, which the caller has opened, gets its settings back.
 */
export class Connection {
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
  #handle: Handle | undefined;
  #synchronous: Durability | undefined;
  readonly #closing = new AbortController();

  /** @param path Where the handle was opened here; `undefined` for an external one. */
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
    return this.#handle!.utf8;
  }

  /** Inspects the handle, and refuses one that cannot be used with an `UnsupportedError`. Comes before other statements. */
  async inspect(what: string): Promise<void> {
    this.#handle = await this.#retry(what, () => inspectHandle(this.database));
  }

  /** A statement, prepared once. */
  prepare(sql: string): SqliteStatement {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) this.#prepared.set(sql, statement = this.#handle!.prepare(sql));
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

  /** Runs a statement without result rows, and returns how many rows it changed. */
  run(sql: string, ...parameters: unknown[]): number {
    const result = this.prepare(sql).run(...parameters) as number | { changes: number | bigint };
    return Number(typeof result === "object" ? result.changes : result);
  }

  /** Runs `work`, repeatedly while the file is locked; errors say that `what` failed. */
  attempt<T>(what: string, work: () => T): Promise<T> {
    return this.#retry(what, () => this.owned ? work() : this.#withCallerSettings(work));
  }

  /** Runs `work` as one write transaction, which takes the write lock at once; `keep` decides whether it commits. */
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

  /** Closes the handle, unless it is external. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.file?.close();
    for (const statement of this.#prepared.values()) (statement as { finalize?(): void }).finalize?.();
    this.#prepared.clear();
    if (this.owned) this.database.close();
  }

  /** Refuses an external handle with an open transaction: reads there may be stale, and a rollback undoes writes. */
  refuseTransaction(what: string): void {
    if (!this.owned && inTransaction(this.database)) throw insideTransaction(what);
  }

  async #retry<T>(what: string, work: () => T): Promise<T> {
    const breath = yieldToEventLoop();
    if (breath) await breath;
    const startedAt = monotonic();
    let pauses: Backoff | undefined;
    for (;;) {
      if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
      if (this.file?.ended) this.file.check(what);
      try {
        return work();
      } catch (error) {
        if (!isBusy(error) || monotonic() - startedAt >= this.#busyTimeout) throw this.#explain(what, error);
      }
      if (monotonic() - startedAt < EAGER_MS) {
        await new Promise<void>(deferBriefly);
        continue;
      }
      pauses ??= new Backoff(BUSY_PAUSE_MS);
      await sleep(pauses.next(), this.#closing.signal).catch(() => {}); // the next round reports the disposal
    }
  }

  /** Translates an error of the driver; a file that is gone explains every other error. */
  #explain(what: string, error: unknown): Error {
    try {
      this.file?.check(what);
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
      // The first error is the one to report.
    }
  }

  /** Runs `work` on an external handle without its busy timeout, and restores its settings. */
  #withCallerSettings<T>(work: () => T): T {
    const name = this.atHome("synchronous"); // of the database that has the table now: `work` may find it in another
    const [busyTimeout, synchronous] = [this.pragma("busy_timeout"), this.pragma(name)];
    const restore = () => {
      this.database.exec(`PRAGMA busy_timeout = ${busyTimeout}`);
      if (!inTransaction(this.database)) this.database.exec(`PRAGMA ${name} = ${synchronous}`);
    };
    this.database.exec("PRAGMA busy_timeout = 0");
    let result: T;
    try {
      result = work();
    } catch (error) {
      try {
        restore();
      } catch {
        // A closed handle has no settings: the first error says so.
      }
      throw error;
    }
    restore();
    return result;
  }
}
