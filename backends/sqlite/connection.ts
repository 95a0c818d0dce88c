import { BackendError } from "../../core/errors.ts";
import { breathe, monotonic, sleep } from "../../core/runtime.ts";
import { inTransaction, type SqliteDatabase, type SqliteStatement } from "./driver.ts";
import { insideTransaction, isBusy, translate } from "./errors.ts";

/** How safely a commit is written: `FULL` reaches the disk before it returns, `NORMAL` at the next checkpoint. */
export type Durability = "FULL" | "NORMAL";

/** Pauses while another process has the file locked (ms): from the first to the last, growing by half, with jitter. */
const PAUSE_FIRST = 0.5;
const PAUSE_LAST = 10;

/** One row of one number. */
function pragma(database: SqliteDatabase, name: string): number {
  const row = database.prepare(`PRAGMA ${name}`).get() as Record<string, number | bigint>;
  return Number(Object.values(row)[0]);
}

/**
 * One database handle, and the manners on it: nothing waits inside SQLite, where a wait stops the whole event loop;
 * what finds the file locked is tried again after a pause. A handle that was lent has its settings put back.
 */
export class Connection {
  /** The handle. */
  readonly database: SqliteDatabase;
  readonly #owned: boolean;
  readonly #busyTimeout: number;
  readonly #prepared = new Map<string, SqliteStatement>();
  #synchronous: Durability | undefined;
  #closed = false;

  constructor(database: SqliteDatabase, owned: boolean, busyTimeout: number) {
    this.database = database;
    this.#owned = owned;
    this.#busyTimeout = busyTimeout * 1e3;
    if (owned) database.exec("PRAGMA busy_timeout = 0");
  }

  /** A statement, prepared once. */
  prepare(sql: string): SqliteStatement {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) this.#prepared.set(sql, statement = this.database.prepare(sql));
    return statement;
  }

  /** Runs a statement that answers no rows, and says how many it changed. */
  run(sql: string, ...parameters: unknown[]): number {
    const result = this.prepare(sql).run(...parameters) as number | { changes: number | bigint };
    return Number(typeof result === "object" ? result.changes : result);
  }

  /** Runs `work`, again and again while the file is locked, and names what fails. */
  async attempt<T>(what: string, work: () => T): Promise<T> {
    const breath = breathe();
    if (breath) await breath;
    const startedAt = monotonic();
    for (let pause = PAUSE_FIRST;; pause = Math.min(pause * 1.5, PAUSE_LAST)) {
      if (this.#closed) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
      try {
        return this.#owned ? work() : this.#politely(work);
      } catch (error) {
        if (!isBusy(error) || monotonic() - startedAt >= this.#busyTimeout) throw translate(what, error);
      }
      await sleep(pause * (0.5 + Math.random()));
    }
  }

  /** Runs `work` as one write transaction that takes the write lock at once; what is not to be kept is undone. */
  write<T>(what: string, durability: Durability, work: () => T, keep?: (result: T) => boolean): Promise<T> {
    return this.attempt(what, () => {
      if (!this.#owned && inTransaction(this.database)) throw insideTransaction(what);
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
    if (this.#closed) return;
    this.#closed = true;
    for (const statement of this.#prepared.values()) (statement as { finalize?(): void }).finalize?.();
    this.#prepared.clear();
    if (this.#owned) this.database.close();
  }

  #setSynchronous(durability: Durability): void {
    if (this.#owned && this.#synchronous === durability) return;
    this.database.exec(`PRAGMA synchronous = ${durability}`);
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
    const busyTimeout = pragma(this.database, "busy_timeout");
    const synchronous = pragma(this.database, "synchronous");
    this.database.exec("PRAGMA busy_timeout = 0");
    try {
      return work();
    } finally {
      this.database.exec(`PRAGMA busy_timeout = ${busyTimeout}`);
      if (!inTransaction(this.database)) this.database.exec(`PRAGMA synchronous = ${synchronous}`);
    }
  }
}
