import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockActivity,
  LockRef,
  LockRow,
  NextHolder,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { inParts, namesOf } from "../../../core/util/requests.ts";
import { monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { within } from "../connection/abandoned.ts";
import type { Connector } from "../connection/connector.ts";
import { diagnose } from "../diagnose.ts";
import type { Liveness } from "../../sessions/liveness.ts";
import { type Looked, Waiters } from "../wakeup/waiters.ts";
import { Acquirer, type UnderWay } from "./acquire.ts";
import { Queue } from "../queue/queue.ts";
import { othersOf } from "../queue/stored_line.ts";
import { LockedRows } from "./locked_rows.ts";
import { guard } from "./guard.ts";
import { holdersOfRows, observations } from "./lock_activity.ts";
import { LockTable } from "./lock_table.ts";
import { NameHints } from "./name_hints.ts";
import { release, releaseOne } from "./release.ts";
import { renew } from "./renew.ts";
import type { RowParts } from "./row_parts.ts";
import { chunks, sorted, toOwnedRow } from "./rows.ts";
import { Statements } from "./statements.ts";
import { UnknownRequests } from "./unknown_requests.ts";

/** How long (ms) a disposal may take in all, and how long at least it waits for requests that the core gave up. */
const CLOSED_WITHIN_MS = 1_900;
const UNDO_LEAST_MS = 400;
/** How much longer (ms) it waits for statements to end at a server that answers: far away, or busy. */
const ENDING_MS = 1_000;
/** How long after its beginning (ms) a disposal prepares to end the acquisitions that are still under way. */
const PREPARE_AFTER_MS = 1_000;
/** How many connections a caller's pool is assumed to have. */
const EXTERNAL_CONNECTIONS = 4;

/** A lock table in a MySQL or MariaDB database: `lease`, or `hybrid` when there is a liveness lock for its rows. */
export class RowBackend implements Backend {
  readonly engine = "mysql";
  readonly mode: "lease" | "hybrid";
  readonly keeping = true;
  readonly queueing = true;
  readonly #connector: Connector;
  readonly #liveness: Liveness | undefined;
  readonly #table: LockTable;
  readonly #parts: RowParts;
  readonly #acquisitions: Acquirer;
  /** The same for locks that are to outlive their holders' sessions. */
  readonly #leases: Acquirer;
  readonly #queue: Queue;
  readonly #waiters: Waiters;
  #closing: Timer | undefined;

  constructor(connector: Connector, liveness?: Liveness) {
    this.mode = liveness ? "hybrid" : "lease";
    this.#connector = connector;
    this.#liveness = liveness;
    const table = this.#table = new LockTable(connector, this.mode);
    const { pool, execute, options } = connector.target;
    const isExternal = pool !== undefined || execute !== undefined;
    const lockedRows = new LockedRows(isExternal ? EXTERNAL_CONNECTIONS : options.maxConnections, isExternal);
    const queue = this.#queue = new Queue(table, lockedRows, liveness !== undefined);
    const unknown = new UnknownRequests(connector.abandoned, async ({ name, owner }) => {
      const what = `release ${namesOf([{ name }])}`;
      return await releaseOne(this.#parts, what, { name, owner }, await table.ready(what));
    });
    this.#parts = { table, hints: new NameHints(), lockedRows, queue, unknown };
    this.#acquisitions = new Acquirer(this.#parts, liveness);
    this.#leases = liveness ? new Acquirer(this.#parts, undefined) : this.#acquisitions;
    this.#waiters = new Waiters((names) => this.#look(names));
  }

  /** Checks that the server is reachable and suitable, and creates the table. */
  async open(): Promise<void> {
    await this.#table.ready("connect");
    await this.#liveness?.lock();
  }

  acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const isKeeping = ({ keep }: AcquireRequest) => keep !== undefined;
    return inParts(requests, isKeeping, (plain) => this.#acquisitions.acquire(plain, allOrNothing), (keeping) => {
      return this.#leases.acquire(keeping, allOrNothing);
    });
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return renew(this.#parts, requests);
  }

  release(targets: readonly LockRef[]): Promise<boolean[]> {
    return release(this.#parts, targets);
  }

  async adopt(lock: OwnedLock, { owner, lockedBy, lockProcess }: NextHolder): Promise<void> {
    const what = `adopt ${namesOf([lock])}`;
    const server = await this.#table.ready(what);
    this.#parts.hints.forget(lock);
    await this.#queue.adopt({ what, server }, lock, { owner, lockedBy, lockProcess });
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const what = "list locks";
    await this.#table.ready(what);
    const { sql } = this.#table;
    const statements = names
      ? chunks(names).map((some) => sql.listNames(some, includeExpired))
      : [sql.list(prefix, includeExpired)];
    const answers = await Promise.all(statements.map((statement) => this.#table.run(what, statement)));
    const rows = answers.flatMap(({ rows }) => rows);
    return sorted(rows.flatMap((columns) => {
      const isListed = columns.at(-1) === "1" || (includeExpired && columns[5] !== "0");
      return [...(isListed ? [toOwnedRow(columns).row] : []), ...othersOf(columns, includeExpired)];
    }));
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = scope === "all" ? "remove every lock" : "clean up expired locks";
    const server = await this.#table.ready(what);
    const found = async (sql: string) => (await this.#table.run(what, sql)).rows.map(([name]) => name!);
    let cleaned = 0;
    for (const names of chunks(await found(this.#table.sql.selectClearable(scope)))) {
      cleaned += (await this.#table.run(what, this.#table.sql.clear(names, scope))).affectedRows;
    }
    for (const name of await found(this.#table.sql.selectQueues())) {
      cleaned += await this.#queue.clean({ what, server }, name, scope);
    }
    for (const names of chunks(await found(this.#table.sql.selectStale()))) {
      await this.#table.run(what, this.#table.sql.deleteStale(names));
    }
    return cleaned;
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    await this.#table.ready(`wait for lock ${JSON.stringify(name)}`);
    return this.#waiters.add(name, wake);
  }

  async #look(names: string[]): Promise<Map<string, Looked>> {
    await this.#liveness?.lock(); // after a failover a new session shortens the leases that are waited for
    const { rows } = await this.#table.run(
      "wait for locks",
      this.#table.sql.selectTurns(this.#queue.seen.tokensOf(names)),
    );
    const looked = new Map(rows.map((columns) => [columns[0]!, this.#queue.seen.look(columns)]));
    for (const name of names) if (!looked.has(name)) this.#parts.hints.noteFree(name);
    return looked;
  }

  async observe(names: readonly string[]): Promise<LockActivity[]> {
    const what = "list lock activity";
    await this.#table.ready(what);
    const { table } = this.#connector.target.options;
    const answers = await Promise.all(chunks(names).map((some) => this.#table.run(what, holdersOfRows(table, some))));
    return observations(names, answers.flatMap(({ rows }) => rows));
  }

  async guard(claim: OwnedLock, client: unknown): Promise<boolean> {
    const server = await this.#table.ready(`guard lock ${JSON.stringify(claim.name)}`);
    const { table } = this.#connector.target.options;
    const sql = new Statements(table.includes(".") ? table : `${server.database}.${table}`, this.mode === "hybrid");
    const isLive = await guard(server, claim, client, sql);
    this.#parts.lockedRows.note([claim]);
    return isLive;
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#connector, this.mode);
  }

  [Symbol.asyncDispose](): Promise<void> {
    const deadline = monotonic() + CLOSED_WITHIN_MS;
    const { abandoned, target } = this.#connector;
    const prepare = () => !target.execute && this.#underWay.length > 0 && abandoned.prepare();
    this.#closing ??= startTimer(PREPARE_AFTER_MS, prepare, false);
    return closeLocks(this, (left) => this.#close(deadline, left)).finally(() => this.#closing!.stop());
  }

  get #underWay(): UnderWay[] {
    return [...new Set([this.#acquisitions, this.#leases])].flatMap(({ underWay }) => underWay);
  }

  async #close(deadline: number, left: readonly OwnedLock[]): Promise<void> {
    const { abandoned } = this.#connector;
    const underWay = this.#underWay;
    const closed = this.#table.close();
    this.#connector.close();
    const polled = this.#waiters.close();
    const limit = Math.max(UNDO_LEAST_MS, deadline - monotonic());
    await within(limit, Promise.allSettled([this.#undo(underWay, left), closed, polled])); // locks not released by then expire
    if (abandoned.isReady) await abandoned.settled(ENDING_MS);
    abandoned.stop();
  }

  /** Ends what is under way at the server, and releases what it was granted, and what the core could not release. */
  async #undo(underWay: readonly UnderWay[], left: readonly OwnedLock[]): Promise<void> {
    await Promise.allSettled(underWay.map(({ outcome }) => outcome));
    const { abandoned } = this.#connector;
    await abandoned.pending;
    const what = "dispose of the backend";
    const claims = [...underWay.flatMap(({ requests }) => requests), ...left];
    if (claims.length === 0 || this.#connector.target.execute) return; // the core has tried as long as there was time
    const server = await this.#table.ready(what);
    await abandoned.use(async (control) => {
      const sending = { what, server, send: (_what: string, sql: string) => control.query(sql) };
      for (const some of chunks(sorted(claims))) {
        await control.query(this.#table.sql.undoAll(some));
        const { rows } = await control.query(this.#table.sql.selectQueues(some.map(({ name }) => name)));
        const queued = new Set(rows.map(([name]) => name));
        await Promise.all(some.map((claim) => queued.has(claim.name) && this.#queue.release(sending, claim)));
      }
    });
  }
}
