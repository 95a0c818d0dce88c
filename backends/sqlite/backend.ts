import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Claim,
  Finding,
  ListFilter,
  LockRow,
  RenewRequest,
  Target,
} from "../../core/backend.ts";
import { BackendError, UnsupportedError } from "../../core/errors.ts";
import { offerEngine } from "../../core/offering.ts";
import { type BackendSettings, refuseUnknown, resolveSettings, takeSettings } from "../../core/settings.ts";
import { Connection, type Durability } from "./connection.ts";
import { inTransaction, isDatabase, openDatabase, type SqliteDatabase } from "./driver.ts";
import { isMissingTable, translate } from "./errors.ts";
import { examine } from "./examine.ts";
import { type SqliteRow, toLockRow } from "./rows.ts";
import { hasTable, schema } from "./schema.ts";
import { type Statements, statementsFor } from "./statements.ts";
import { Watching } from "./watching.ts";

/**
 * How an SQLite backend is set up.
 *
 * @example
 * ```ts
 * import { sqliteBackend, type SqliteOptions } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * const options: SqliteOptions = { table: "my_locks", busyTimeout: 2 };
 * await using backend = await sqliteBackend(":memory:", options);
 * assert.equal(backend.engine, "sqlite");
 * ```
 */
export interface SqliteOptions extends BackendSettings {
  /** What opens the file: the runtime's own SQLite, or `"@db/sqlite"` on Deno. @default "node:sqlite" */
  driver?: string;
  /** Seconds to go on trying while another process keeps the file locked. The event loop is never stopped. @default 5 */
  busyTimeout?: number;
}

const OWN_OPTIONS = ["driver", "busyTimeout"];
const DEFAULT_BUSY_TIMEOUT = 5;

/** The path and options that a target says: `sqlite:PATH?…`, a `file:` URL, or a bare path. */
function parseTarget(target: string): { path: string; options: SqliteOptions } {
  if (/^file:/i.test(target)) {
    const url = new URL(target);
    return { path: decodeURIComponent(url.pathname), options: parseQuery(url.searchParams) };
  }
  const match = /^sqlite:(?:\/\/(?=\/))?([^?]*)(?:\?(.*))?$/is.exec(target);
  if (match === null) return { path: target, options: {} };
  return { path: decodeURIComponent(match[1]), options: parseQuery(new URLSearchParams(match[2] ?? "")) };
}

function parseQuery(parameters: URLSearchParams): SqliteOptions {
  const settings = takeSettings(parameters);
  const driver = parameters.get("driver");
  parameters.delete("driver");
  for (const key of parameters.keys()) {
    throw new TypeError(`Cannot use URL parameter ${JSON.stringify(key)} on SQLite: want driver or lockmgr_…`);
  }
  return driver === null ? settings : { ...settings, driver };
}

/** A lock table in an SQLite database. */
class SqliteBackend implements Backend {
  readonly engine = "sqlite";
  readonly mode = "lease";
  readonly #connection: Connection;
  readonly #table: string;
  readonly #migrate: boolean;
  readonly #sql: Statements;
  readonly #watching: Watching;
  #prepared: Promise<void> | undefined;
  #dataVersion = -1;

  constructor(connection: Connection, table: string, migrate: boolean) {
    this.#connection = connection;
    this.#table = table;
    this.#migrate = migrate;
    this.#sql = statementsFor(table);
    this.#watching = new Watching({
      changed: () => this.#changed(),
      isFree: (name) => this.#peek(name) === undefined,
    });
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    const answers = await this.#read(what, () => requests.map((request) => this.#known(request)));
    const hopeless = allOrNothing && answers.some((answer) => answer?.granted === false);
    if (hopeless || answers.every((answer) => answer !== undefined)) {
      return answers.map((answer) => answer ?? { granted: false, holder: undefined });
    }
    return await this.#write(what, "FULL", () => this.#take(requests, allOrNothing));
  }

  /** What can be said without writing: held by another, or by this very request whose answer was lost. */
  #known(request: AcquireRequest): AcquireAnswer | undefined {
    const row = this.#peek(request.name);
    if (row === undefined) return undefined;
    if (row.owner === request.owner) return { granted: true, row: toLockRow(row) };
    return { granted: false, holder: toLockRow(row) };
  }

  /** Takes what is free, inside a write transaction. */
  #take(requests: readonly AcquireRequest[], allOrNothing: boolean): AcquireAnswer[] {
    if (allOrNothing) {
      const known = requests.map((request) => this.#known(request));
      if (known.some((answer) => answer?.granted === false)) {
        return known.map((answer) => answer ?? { granted: false, holder: undefined });
      }
    }
    const answers = requests.map((request) => this.#insert(request) ?? this.#known(request) ?? this.#insert(request)!);
    if (allOrNothing && answers.some(({ granted }) => !granted)) {
      throw new BackendError("Cannot acquire several locks at once: the clock went back meanwhile", {
        retryable: true,
      });
    }
    return answers;
  }

  /**
   * Takes a name if it is free. The token is read under the file's write lock, so that it rises in that order. Reading
   * first and writing plain values takes half the time of one statement that decides and answers the row.
   */
  #insert({ name, owner, lockedBy, lockProcess, duration, metadata }: AcquireRequest): AcquireAnswer | undefined {
    const next = this.#connection.prepare(this.#sql.next).get(name) as
      | { token: string; now: string }
      | undefined
      | null;
    if (!next) return undefined;
    const now = Number(next.now);
    const lockedUntil = duration === null ? null : now + duration;
    this.#connection.run(
      this.#sql.acquire,
      name,
      owner,
      next.token,
      lockedBy,
      lockProcess,
      lockedUntil,
      now,
      now,
      metadata,
    );
    const token = BigInt(next.token);
    const row = { name, token, lockedBy, lockProcess, lockedUntil, createdAt: now, updatedAt: now, metadata, now };
    return { granted: true, row };
  }

  #peek(name: string): SqliteRow | undefined {
    return (this.#connection.prepare(this.#sql.peek).get(name) ?? undefined) as SqliteRow | undefined;
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return this.#write(`renew ${namesOf(requests)}`, "FULL", () => {
      const statement = this.#connection.prepare(this.#sql.renew);
      return requests.map(({ name, owner, from, add }) => {
        const row = statement.get(name, owner, String(from), add) as SqliteRow | undefined | null;
        return row ? toLockRow(row) : undefined;
      });
    });
  }

  release(targets: readonly Target[]): Promise<boolean[]> {
    // A release that a power cut undoes is only a lock that expires: it need not reach the disk at once.
    return this.#write(
      `release ${namesOf(targets)}`,
      "NORMAL",
      () => targets.map(({ name, owner }) => this.#connection.run(this.#sql.release, name, owner) > 0),
    );
  }

  list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    return this.#read("list locks", () => {
      const rows = names
        ? this.#connection.prepare(this.#sql.listNames).all(JSON.stringify(names))
        : this.#connection.prepare(this.#sql.list).all(includeExpired ? 1 : 0, prefix);
      return (rows as SqliteRow[]).map(toLockRow);
    });
  }

  clean(scope: "expired" | "all"): Promise<number> {
    return this.#write(scope === "all" ? "remove every lock" : "clean up expired locks", "FULL", () => {
      const cleaned = this.#connection.run(this.#sql.clean, scope === "all" ? 1 : 0);
      this.#connection.run(this.#sql.sweep);
      return cleaned;
    });
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    await this.#ready(`wait for lock ${JSON.stringify(name)}`);
    return this.#watching.add(name, wake);
  }

  // deno-lint-ignore require-await -- what is thrown must reject
  async guard({ name, owner }: Claim, client: unknown): Promise<boolean> {
    const what = `guard lock ${JSON.stringify(name)}`;
    if (!isDatabase(client)) throw new TypeError(`Cannot ${what}: want the database handle of the open transaction`);
    if (inTransaction(client) === false) throw new TypeError(`Cannot ${what}: no transaction is open on the handle`);
    try {
      return Boolean(client.prepare(this.#sql.guard).get(name, owner));
    } catch (error) {
      throw translate(what, error);
    }
  }

  examine(): Promise<Finding[]> {
    const what = "examine the database";
    return this.#connection.attempt(what, () => examine(this.#connection.database, this.#table));
  }

  // deno-lint-ignore require-await -- the interface is asynchronous, SQLite is not
  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection.close();
    this.#watching.close();
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
    const there = await this.#connection.attempt(what, () => hasTable(this.#connection.database, this.#table));
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

  async #write<T>(what: string, durability: Durability, work: () => T): Promise<T> {
    await this.#ready(what);
    return await this.#connection.write(what, durability, work).catch((error) => this.#failed(error));
  }

  /** A table that somebody dropped is made again by the next call. */
  #failed(error: unknown): never {
    if (error instanceof BackendError && isMissingTable(error.cause)) this.#prepared = undefined;
    throw error;
  }

  #changed(): boolean {
    const row = this.#connection.prepare("PRAGMA data_version").get() as { data_version: number | bigint };
    const version = Number(row.data_version);
    const changed = version !== this.#dataVersion;
    this.#dataVersion = version;
    return changed;
  }
}

/** The locks of a request, for an error's sentence. */
function namesOf(requests: readonly { readonly name: string }[]): string {
  const [first, ...others] = requests.map(({ name }) => JSON.stringify(name));
  return others.length === 0 ? `lock ${first}` : `lock ${first} and ${others.length} more`;
}

/** The file of the main database as SQLite itself has it; `undefined` for one in memory. */
function fileOf(database: SqliteDatabase): string | undefined {
  const all = database.prepare("PRAGMA database_list").all() as { name: string; file: string | null }[];
  return all.find(({ name }) => name === "main")?.file || undefined;
}

/**
 * Keeps locks in an SQLite database.
 *
 * @example
 * ```ts
 * import { getLock } from "@lockmgr/lockmgr";
 * import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * await using backend = await sqliteBackend(":memory:", { table: "my_locks" });
 * await using lock = await getLock("jobs", { backend });
 * assert.equal(backend.engine, "sqlite");
 * ```
 *
 * @param target A path, `sqlite:PATH`, `:memory:`, or an open database of node:sqlite, bun:sqlite, better-sqlite3 or
 * `@db/sqlite`: that one is never closed here, and its settings are put back after each statement.
 * @param options The table, and how the file is opened.
 * @returns The backend; disposal closes what was opened here.
 * @throws {TypeError} For an option that nobody knows.
 * @throws {UnsupportedError} For a mode other than `"lease"`: SQLite has no session locks.
 * @throws {BackendError} When the file cannot be opened or is no SQLite database.
 */
export async function sqliteBackend(target: string | SqliteDatabase, options: SqliteOptions = {}): Promise<Backend> {
  const parsed = typeof target === "string" ? parseTarget(target) : { path: undefined, options: {} };
  const all = { ...parsed.options, ...options };
  refuseUnknown("SQLite", all, OWN_OPTIONS);
  const { mode, table, migrate } = resolveSettings(all);
  if (mode !== "lease") {
    throw new UnsupportedError(`Cannot use "${mode}" mode on SQLite: it has no session locks; want "lease"`);
  }
  const { driver = "node:sqlite", busyTimeout = DEFAULT_BUSY_TIMEOUT } = all;
  if (typeof busyTimeout !== "number" || !(busyTimeout >= 0)) {
    throw new RangeError(`Cannot use busyTimeout ${String(busyTimeout)}: want seconds, 0 or more`);
  }
  if (parsed.path === undefined && !isDatabase(target)) {
    throw new TypeError("Cannot use this as an SQLite database: want a path or an open database handle");
  }
  const database = parsed.path === undefined ? target as SqliteDatabase : await openDatabase(parsed.path, driver);
  const connection = new Connection(database, parsed.path !== undefined, busyTimeout);
  try {
    const file = fileOf(database);
    const setUp = () => database.exec("PRAGMA journal_mode = WAL");
    if (parsed.path !== undefined && file !== undefined) await connection.attempt(`open database "${file}"`, setUp);
    return new SqliteBackend(connection, table, migrate);
  } catch (error) {
    connection.close();
    throw error;
  }
}

offerEngine("sqlite", { open: sqliteBackend, schema });
