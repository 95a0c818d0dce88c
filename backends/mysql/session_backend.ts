import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Claim,
  Finding,
  ListFilter,
  LockRow,
  Observation,
  RenewRequest,
  Target,
} from "../../core/backend.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { type Carrier, Carriers, CLOCK_NOW } from "./carriers.ts";
import type { Connector } from "./connector.ts";
import { endsConnection, translate } from "./errors.ts";
import { examine } from "./examine.ts";
import { Polling } from "./polling.ts";
import { foreignRow, heldRow } from "./session_rows.ts";
import { takeLock } from "./session_attempt.ts";
import { holdersOfSessionLocks, observations } from "./witnesses.ts";

/** A lock that this backend holds. */
interface Held {
  readonly owner: string;
  readonly row: LockRow;
  /** The name on the server. */
  readonly digest: string;
  readonly carrier: Carrier;
}

/** Locks that the server ties to a connection: GET_LOCK, many of them on few connections. */
export class SessionBackend implements Backend {
  readonly engine = "mysql";
  readonly mode = "session";
  readonly singly = true;
  readonly #connector: Connector;
  readonly #held = new Map<string, Held>();
  /** Names that are being asked for: the server would let the same connection in twice. */
  readonly #asking = new Set<string>();
  readonly #carriers: Carriers;
  readonly #polling: Polling;

  constructor(connector: Connector) {
    this.#connector = connector;
    this.#carriers = new Carriers(connector);
    this.#polling = new Polling((names) => this.#whichHeld(names));
  }

  /** Makes sure that the server can be reached, and keeps the promise. */
  async open(): Promise<void> {
    await this.#carriers.roomy("connect");
  }

  async acquire(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    return await Promise.all(requests.map((request) => this.#take(request)));
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
    const digest = await this.#carriers.digest(request.name);
    const carrier = await this.#carriers.reserve(what);
    const { connection } = carrier;
    let granted = false;
    try {
      const clock = await takeLock(what, connection, digest, this.#carriers.stoppedClock);
      if (clock === undefined) return { granted: false, holder: undefined };
      granted = true;
      const row = heldRow(request, clock, connection.id);
      this.#held.set(request.name, { owner: request.owner, row, digest, carrier });
      return { granted: true, row, lifeline: connection };
    } finally {
      if (!granted) carrier.load--;
    }
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
    const { connection } = await this.#carriers.roomy("list locks");
    const sql = `SELECT IS_USED_LOCK('${await this.#carriers.digest(name)}'), ${CLOCK_NOW}`;
    const { rows: [[id, clock]] } = await connection.query(sql).catch((error) => {
      throw translate("list locks", error);
    });
    if (id === null) return undefined;
    return foreignRow(name, Number(clock), id);
  }

  async observe(names: readonly string[]): Promise<Observation[]> {
    if (names.length === 0) return [];
    const { connection } = await this.#carriers.roomy("tell who holds");
    const named = names.map(async (name) => [name, await this.#carriers.digest(name)] as const);
    const { rows } = await connection.query(holdersOfSessionLocks(await Promise.all(named))).catch((error) => {
      throw translate("tell who holds", error);
    });
    return observations(names, rows);
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
    const { connection } = await this.#carriers.roomy("wait for locks");
    const digests = await Promise.all(names.map((name) => this.#carriers.digest(name)));
    const { rows: [used] } = await connection.query(`SELECT ${digests.map((digest) => `IS_USED_LOCK('${digest}')`)}`);
    return new Set(names.filter((_, index) => used[index] !== null));
  }

  examine(): Promise<Finding[]> {
    return examine(this.#connector, this.mode);
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
}
