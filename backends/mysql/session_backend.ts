import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Claim,
  ListFilter,
  LockRow,
  RenewRequest,
  Target,
} from "../../core/backend.ts";
import { BackendError, UnsupportedError } from "../../core/errors.ts";
import type { Connector } from "./connector.ts";
import { endsConnection, translate } from "./errors.ts";
import { Polling } from "./polling.ts";
import { requireServer } from "./server.ts";
import { SessionConnection } from "./session_connection.ts";
import { sessionName } from "./session_names.ts";

/** Locks on one connection, at most: 1,000 held locks need four connections. MySQL stays quick to 10,000, MariaDB less. */
const PER_CONNECTION = 250;

/** The clock of the moment, not of the statement's start: it is read when the lock is held already. */
const CLOCK_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))";

/** A lock that this backend holds. */
interface Held {
  readonly owner: string;
  readonly row: LockRow;
  /** The name on the server. */
  readonly digest: string;
  readonly carrier: Carrier;
}

/** A connection, and how many locks ride on it or are about to. */
interface Carrier {
  readonly connection: SessionConnection;
  load: number;
}

/** Locks that the server ties to a connection: GET_LOCK, many of them on few connections. */
export class SessionBackend implements Backend {
  readonly engine = "mysql";
  readonly mode = "session";
  readonly #connector: Connector;
  readonly #held = new Map<string, Held>();
  /** Names that are being asked for: the server would let the same connection in twice. */
  readonly #asking = new Set<string>();
  readonly #carriers: Carrier[] = [];
  readonly #polling: Polling;
  #opening: Promise<Carrier> | undefined;
  #stoppedClock = false;

  constructor(connector: Connector) {
    this.#connector = connector;
    this.#polling = new Polling((names) => this.#whichHeld(names));
  }

  /** Makes sure that the server can be reached, and keeps the promise. */
  async open(): Promise<void> {
    await this.#carrier("connect");
  }

  async acquire(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const answers: AcquireAnswer[] = [];
    for (const request of requests) answers.push(await this.#take(request));
    return answers;
  }

  async #take(request: AcquireRequest): Promise<AcquireAnswer> {
    const { name, owner } = request;
    const held = this.#heldHere(name);
    if (held?.owner === owner) return { granted: true, row: held.row, lifeline: held.carrier.connection };
    if (held || this.#asking.has(name)) return { granted: false, holder: held?.row };
    this.#asking.add(name);
    try {
      return await this.#ask(request);
    } finally {
      this.#asking.delete(name);
    }
  }

  async #ask(request: AcquireRequest): Promise<AcquireAnswer> {
    const what = `acquire lock ${JSON.stringify(request.name)}`;
    const digest = await this.#digest(request.name);
    const carrier = await this.#carrier(what);
    const { connection } = carrier;
    carrier.load++;
    let granted = false;
    try {
      const clock = await this.#getLock(what, connection, digest);
      if (clock === undefined) return { granted: false, holder: undefined };
      granted = true;
      const row = this.#row(request, clock, connection);
      this.#held.set(request.name, { owner: request.owner, row, digest, carrier });
      return { granted: true, row, lifeline: connection };
    } finally {
      if (!granted) carrier.load--;
    }
  }

  /** Tries once; the server's clock under the lock, or `undefined` when another has it. */
  async #getLock(what: string, connection: SessionConnection, digest: string): Promise<number | undefined> {
    try {
      const { rows: [[got, clock]] } = await connection.query(`SELECT GET_LOCK('${digest}', 0), ${CLOCK_NOW}`);
      if (got === "0") return undefined;
      if (got === null) {
        throw new BackendError(`Cannot ${what}: the server refused or the statement was killed`, { retryable: true });
      }
      return Number(this.#stoppedClock ? (await connection.query(`SELECT ${CLOCK_NOW}`)).rows[0][0] : clock);
    } catch (error) {
      await this.#makeSureFree(connection, digest);
      throw translate(what, error);
    }
  }

  /** An error does not mean that the lock was not granted: give it back, or end the connection. */
  async #makeSureFree(connection: SessionConnection, digest: string): Promise<void> {
    if (connection.ended) return;
    await connection.query(`SELECT RELEASE_LOCK('${digest}')`).catch((error) => connection.end(error));
  }

  #row(request: AcquireRequest, clock: number, connection: SessionConnection): LockRow {
    const { name, lockedBy, lockProcess, metadata } = request;
    const times = { createdAt: clock, updatedAt: clock, now: clock, lockedUntil: null };
    return { name, token: BigInt(clock), lockedBy, lockProcess, metadata, session: String(connection.id), ...times };
  }

  async release(targets: readonly Target[]): Promise<boolean[]> {
    return await Promise.all(targets.map((target) => this.#release(target)));
  }

  async #release({ name, owner }: Target): Promise<boolean> {
    const held = this.#heldHere(name);
    if (!held || held.owner !== owner) return false;
    const what = `release lock ${JSON.stringify(name)}`;
    const { connection } = held.carrier;
    try {
      const { rows: [[released]] } = await connection.query(`SELECT RELEASE_LOCK('${held.digest}')`);
      this.#forget(name, held);
      return released === "1"; // 0: another's by now; NULL: nobody's
    } catch (error) {
      if (connection.ended || endsConnection(error)) this.#forget(name, held);
      throw translate(what, error);
    }
  }

  #forget(name: string, held: Held): void {
    if (this.#held.get(name) !== held) return;
    this.#held.delete(name);
    held.carrier.load--;
  }

  renew(_requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return Promise.reject(new UnsupportedError('Cannot renew in "session" mode: want "lease" or "hybrid"'));
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const own = [...this.#held.keys()].sort().map((name) => this.#heldHere(name)?.row)
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
    const { connection } = await this.#carrier("list locks");
    const sql = `SELECT IS_USED_LOCK('${await this.#digest(name)}'), ${CLOCK_NOW}`;
    const { rows: [[id, clock]] } = await connection.query(sql).catch((error) => {
      throw translate("list locks", error);
    });
    if (id === null) return undefined;
    const now = Number(clock);
    const times = { createdAt: now, updatedAt: now, now, lockedUntil: null };
    return { name, token: 0n, lockedBy: `connection ${id}`, lockProcess: null, metadata: null, session: id, ...times };
  }

  async verify({ name, owner }: Claim): Promise<boolean> {
    const held = this.#heldHere(name);
    if (held?.owner !== owner) return false;
    const { connection } = held.carrier;
    try {
      const { rows } = await connection.query(`SELECT IS_USED_LOCK('${held.digest}') = CONNECTION_ID()`);
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
    const { connection } = await this.#carrier("wait for locks");
    const digests = await Promise.all(names.map((name) => this.#digest(name)));
    const { rows: [used] } = await connection.query(`SELECT ${digests.map((digest) => `IS_USED_LOCK('${digest}')`)}`);
    return new Set(names.filter((_, index) => used[index] !== null));
  }

  // deno-lint-ignore require-await -- the interface is asynchronous
  async [Symbol.asyncDispose](): Promise<void> {
    this.#connector.close();
    this.#polling.close();
  }

  /** A lock of this backend whose connection still lives. */
  #heldHere(name: string): Held | undefined {
    const held = this.#held.get(name);
    if (!held?.carrier.connection.ended) return held;
    this.#forget(name, held);
    return undefined;
  }

  async #digest(name: string): Promise<string> {
    const server = this.#connector.known ?? (await this.#carrier("name a lock"), this.#connector.known!);
    const { table } = this.#connector.target.options;
    const folds = server.variables.get("lower_case_table_names") !== "0";
    return await sessionName(server.database, folds ? table.toLowerCase() : table, name);
  }

  /** A connection with room for one more lock. */
  async #carrier(what: string): Promise<Carrier> {
    for (let index = this.#carriers.length - 1; index >= 0; index--) {
      if (this.#carriers[index].connection.ended) this.#carriers.splice(index, 1);
    }
    const roomy = this.#carriers.find(({ load }) => load < PER_CONNECTION);
    if (roomy) return roomy;
    this.#opening ??= this.#open(what).finally(() => this.#opening = undefined);
    return await this.#opening;
  }

  async #open(what: string): Promise<Carrier> {
    const connection = await SessionConnection.open(this.#connector, what);
    try {
      requireServer(this.#connector.known!, "session", this.#connector.target.options.table);
      // A server may be told to let SYSDATE() stand still within a statement, as NOW() does (--sysdate-is-now).
      const { rows: [[early, , later]] } = await connection.query("SELECT SYSDATE(6), SLEEP(0.001), SYSDATE(6)");
      this.#stoppedClock = early === later;
    } catch (error) {
      connection.end(error as Error);
      throw translate(what, error);
    }
    const carrier = { connection, load: 0 };
    this.#carriers.push(carrier);
    return carrier;
  }
}
