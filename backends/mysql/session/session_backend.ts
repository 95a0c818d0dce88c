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
import { UnsupportedError } from "../../../core/errors.ts";
import { within } from "../connection/abandoned.ts";
import { Carriers } from "./session_pool.ts";
import type { Connector } from "../connection/connector.ts";
import { translate } from "../errors.ts";
import { diagnose } from "../diagnose.ts";
import { Polling } from "../wakeup/polling.ts";
import { SessionLocks } from "./session_locks.ts";
import { foreignRow } from "./session_rows.ts";
import { areFree, CLOCK_NOW, DONE } from "./session_statements.ts";
import { holdersOfSessionLocks, observations } from "../rows/lock_activity.ts";

/** How long (ms) a disposal waits until what is under way has ended at the server, after the core has waited for it. */
const CLOSE_MS = 400;

/** Locks that the server ties to a connection: GET_LOCK, many of them on few connections. */
export class SessionBackend implements Backend {
  readonly engine = "mysql";
  readonly mode = "session";
  readonly #connector: Connector;
  readonly #carriers: Carriers;
  readonly #locks: SessionLocks;
  readonly #polling: Polling;

  constructor(connector: Connector) {
    this.#connector = connector;
    this.#carriers = new Carriers(connector);
    this.#locks = new SessionLocks(this.#carriers);
    this.#polling = new Polling((names) => this.#whichHeld(names));
  }

  /** Makes sure that the server can be reached, and keeps the promise. */
  async open(): Promise<void> {
    await this.#carriers.roomy("connect");
  }

  acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    return allOrNothing ? this.#locks.takeAll(requests) : this.#locks.take(requests);
  }

  release(targets: readonly LockRef[]): Promise<boolean[]> {
    return this.#locks.free(targets);
  }

  renew(_requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return Promise.reject(new UnsupportedError('Cannot renew in "session" mode: want "lease" or "hybrid"'));
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const own = this.#locks.names.sort().map((name) => this.#locks.find(name)?.row)
      .filter((row) => row !== undefined);
    if (!names) return own.filter(({ name }) => name.startsWith(prefix));
    const rows: LockRow[] = [];
    for (const name of names) {
      const row = own.find((row) => row.name === name) ?? await this.#foreign(name);
      if (row) rows.push(row);
    }
    return rows;
  }

  /** What the server says of a lock that is not held through this backend. */
  async #foreign(name: string): Promise<LockRow | undefined> {
    const { connection } = await this.#carriers.roomy("list locks");
    const sql = `SELECT IS_USED_LOCK('${await this.#carriers.digest(name)}') AS id, ${CLOCK_NOW} AS clock`;
    const { rows: [[id, clock]] } = await connection.queryPrimary(sql).catch((error) => {
      throw translate("list locks", error);
    });
    if (id === null) return undefined;
    return foreignRow(name, Number(clock), id);
  }

  async observe(names: readonly string[]): Promise<LockActivity[]> {
    if (names.length === 0) return [];
    const { connection } = await this.#carriers.roomy("tell who holds");
    const named = names.map(async (name) => [name, await this.#carriers.digest(name)] as const);
    const { rows } = await connection.query(holdersOfSessionLocks(await Promise.all(named))).catch((error) => {
      throw translate("tell who holds", error);
    });
    return observations(names, rows);
  }

  async verify({ name, owner }: OwnedLock): Promise<boolean> {
    const held = this.#locks.find(name);
    if (held?.owner !== owner) return false;
    const { connection } = held.carrier;
    try {
      const { rows } = await connection.queryPrimary(
        `SELECT IS_USED_LOCK('${held.digest}') = CONNECTION_ID() AS own`,
      );
      return rows[0][0] === "1";
    } catch (error) {
      if (connection.ended) return false; // the server frees what an ended connection held
      throw translate(`verify lock ${JSON.stringify(name)}`, error);
    }
  }

  /** Nothing lapses here. */
  clean(scope: "expired" | "all"): Promise<number> {
    if (scope === "expired") return Promise.resolve(0);
    return Promise.reject(new UnsupportedError('Cannot remove every lock in "session" mode: want "lease" or "hybrid"'));
  }

  watch(name: string, wake: () => void): Promise<Disposable> {
    return Promise.resolve(this.#polling.add(name, wake));
  }

  async #whichHeld(names: string[]): Promise<Set<string>> {
    const { connection } = await this.#carriers.roomy("wait for locks");
    const { rows: [[free]] } = await connection.queryPrimary(areFree(await this.#carriers.digests(names)));
    return new Set(names.filter((_, index) => free?.[index] !== DONE));
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#connector, this.mode);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      this.#connector.close();
      this.#polling.close();
      const { abandoned } = this.#connector;
      if (abandoned.pending) await within(CLOSE_MS, abandoned.pending);
      abandoned.stop();
    });
  }
}
