import type { Backend } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { randomId, sleep } from "../../../core/util/runtime.ts";
import { Abandoned, within } from "./abandoned.ts";
import { Connection } from "./connection.ts";
import type { Answer } from "./driver.ts";
import { isWithoutTls, notPrimary, translate } from "../errors.ts";
import type { Mode } from "../../../core/backend.ts";
import {
  clusterOf,
  describe,
  QUESTIONS,
  READ_ONLY,
  readOnlyBy,
  requireRowsInLog,
  requireServer,
  type Server,
} from "./server.ts";
import type { Target } from "../options.ts";

/**
 * What every connection of our own is set to, whatever the server's defaults are. Strict, and without the modes that
 * change how a statement is read; no snapshots; no row lock is waited for longer than a caller would want to.
 */
const SESSION = `SET autocommit = 1, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', innodb_lock_wait_timeout = 1,
    sql_select_limit = 18446744073709551615, completion_type = 0`;

/** How long (ms) the server has to answer on a connection that ends others. */
const CONTROL_MS = 2_000;
/** How long (ms) an error of a connection waits until what was running on it has ended at the server. */
export const GONE_MS = 1_000;
/** The longest wait (s) for a lock of a table, in whole seconds below the answer timeout, so that the server ends it. */
const TABLE_WAIT_MARGIN = 1;

/** Opens connections of our own to one server, all set up alike, and knows what kind of server it is. */
export class Connector {
  readonly #target: Target;
  #known: Server | undefined;
  readonly #open = new Set<Connection>();
  readonly #doubters = new Set<() => void>();
  #hadPrimary = false;
  #asking: Promise<Connection> | undefined;
  readonly #closing = new AbortController();
  readonly #abandoned: Abandoned;

  constructor(target: Target) {
    this.#target = target;
    const config = { ...target.config, connectTimeout: CONTROL_MS };
    this.#abandoned = new Abandoned(async () => {
      const control = await Connection.open(config, CONTROL_MS, new AbortController().signal);
      await control.query(SESSION);
      return control;
    });
  }

  /** What was given up and may still be running at the server. */
  get abandoned(): Abandoned {
    return this.#abandoned;
  }

  /** Where the server is, and the options. */
  get target(): Target {
    return this.#target;
  }

  /** The database as the caller named it; else the one that the server says. */
  get database(): string {
    return String(this.#target.config.database ?? this.#known?.database ?? "");
  }

  /** What kind of server it is; `undefined` before the first connection. */
  get known(): Server | undefined {
    return this.#known;
  }

  /** Opens one. `idle` is after how many seconds without a word the server may end it. */
  async connect(what: string, idle?: number): Promise<Connection> {
    let connection: Connection | undefined;
    try {
      connection = await this.#openOne();
      this.#refuseClosed(what);
      await this.#setUp(connection, idle);
      // Each time: behind the same address there may be another server by now.
      this.#known = describe([await connection.query(QUESTIONS[0]), await connection.query(QUESTIONS[1])]);
      requireRowsInLog(this.#known, this.#target.options.mode);
      if (this.#known.readCommitted) await connection.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
      if (idle === undefined) connection.interrupt = () => this.#abandoned.interrupt(connection!);
      else connection.carriesLocks = true;
      return connection;
    } catch (error) {
      connection?.end(error as Error);
      this.#refuseClosed(what);
      throw translate(what, this.#target.conceal(error));
    }
  }

  /**
   * Sets a connection up. Its marker is taken along: by it the connection is found at the server, also after a restart,
   * when another's may have the same id.
   */
  async #setUp(connection: Connection, idle: number | undefined): Promise<void> {
    const { answerTimeout } = this.#target.options;
    const marker = this.#known && clusterOf(this.#known) ? undefined : `lockmgr:at:${randomId()}`;
    const settings = [
      ...(marker ? [`@lockmgr_marker = GET_LOCK('${marker}', 0)`] : []),
      `lock_wait_timeout = ${Math.max(1, Math.floor(answerTimeout - TABLE_WAIT_MARGIN))}`,
      ...(idle === undefined ? [] : [`wait_timeout = ${Math.ceil(idle)}`]),
    ];
    await connection.query(`${SESSION}, ${settings.join(", ")}`);
    connection.marker = marker;
  }

  /** Waits, within a bound, until what was running on a connection that has ended is over at the server. */
  async gone(connection: Connection): Promise<boolean> {
    return await within(GONE_MS, this.#abandoned.end(connection));
  }

  /** A connection as the server lets it in, which ends with the others. */
  async #openOne(): Promise<Connection> {
    const { config, options, prefersTls } = this.#target;
    const open = (config: Record<string, unknown>) =>
      Connection.open(config, options.answerTimeout * 1e3, this.#closing.signal);
    const connection = await open(config).catch((error) => {
      if (prefersTls && isWithoutTls(error)) return open({ ...config, ssl: undefined });
      throw error;
    });
    this.#open.add(connection);
    connection.onEnd(() => {
      this.#open.delete(connection);
      if (connection.isInDoubt) this.#abandoned.end(connection);
    });
    return connection;
  }

  /**
   * Refuses what this server cannot promise. Where one took writes before, a server that takes none is on its way to be
   * a replica, or from one: that passes.
   */
  require(server: Server, mode: Mode): void {
    if (mode !== "lease") this.refuseDemoted(`use "${mode}" mode`, server);
    requireServer(server, mode, this.#target.options.table);
  }

  /** Refuses a server that takes no writes, where one took writes before. */
  refuseDemoted(what: string, server: Server): void {
    const setting = readOnlyBy(server);
    if (setting === undefined) this.#hadPrimary = true;
    else if (this.#hadPrimary) {
      this.doubt();
      throw new BackendError(`Cannot ${what}: the server is read-only now (${setting}); want the primary`, {
        retryable: true,
      });
    }
  }

  /** Calls `listener` whenever a connection was found to lead to a server that is not the primary. */
  onDoubt(listener: () => void): () => void {
    this.#doubters.add(listener);
    return () => this.#doubters.delete(listener);
  }

  /** A connection was found to lead to a server that is not the primary: others may as well. */
  doubt(): void {
    for (const listener of [...this.#doubters]) listener();
  }

  /** Asks one question on a connection that is kept for such. */
  async ask(what: string, sql: string): Promise<Answer> {
    try {
      if (!this.#asking || (await this.#asking).ended) {
        const attempt = this.#asking = this.connect(what);
        attempt.catch(() => this.#asking = undefined);
      }
      return await (await this.#asking).query(sql);
    } catch (error) {
      throw translate(what, this.#target.conceal(error));
    }
  }

  /** Asks with a SELECT without FROM: once more on a new connection where the server takes no writes. */
  async askPrimary(what: string, select: string): Promise<Answer> {
    const sql = `${select}, ${READ_ONLY} AS read_only`;
    const answer = await this.ask(what, sql);
    if (answer.rows[0].at(-1) === "0") return answer;
    this.doubt();
    (await this.#asking)?.end(notPrimary());
    return await this.ask(what, sql);
  }

  /** Ends all that are open, and hangs up on what is being opened. */
  close(): void {
    const reason = new BackendError("Cannot go on: the backend was disposed of");
    this.#closing.abort(reason);
    for (const connection of [...this.#open]) connection.end(reason, true);
  }

  /** Waits so many milliseconds before a further try; ends with the backend. */
  async pause(what: string, milliseconds: number): Promise<void> {
    await sleep(milliseconds, this.#closing.signal).catch(() => this.#refuseClosed(what));
  }

  #refuseClosed(what: string): void {
    if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
  }
}

const connectors = new WeakMap<Backend, Connector>();

/** Marks backends whose connections are known to the copy of this package that made them, and to no other. */
const KNOWN = Symbol.for("@lockmgr/lockmgr/connections");

/** Remembers how to open further connections beside a backend. */
export function rememberConnector(backend: Backend, connector: Connector): void {
  connectors.set(backend, connector);
  Object.defineProperty(backend, KNOWN, { value: true });
}

/**
 * How to open further connections beside a backend.
 *
 * @throws {TypeError} For a backend of another engine.
 */
export function connectorOf(backend: Backend | undefined, what: string): Connector {
  const connector = backend && connectors.get(backend);
  if (!connector && typeof backend === "object" && backend !== null && KNOWN in backend) {
    throw new TypeError(
      `Cannot ${what} with this backend: another copy of lockmgr made it; import both from the same copy`,
    );
  }
  if (!connector) throw new TypeError(`Cannot ${what}: want option "backend" to be one that mysqlBackend made`);
  return connector;
}
