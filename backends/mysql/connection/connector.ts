import type { Backend, Mode } from "../../../core/backend.ts";
import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import { once } from "../../../core/util/once.ts";
import { Rotation } from "../../../core/util/rotation.ts";
import { randomId, sleep } from "../../../core/util/runtime.ts";
import { isWithoutTls, notPrimary, translate } from "../errors.ts";
import type { ResolvedTarget } from "../options.ts";
import { Abandoned, within } from "./abandoned.ts";
import { Connection } from "./connection.ts";
import type { Answer } from "./row_shapes.ts";
import { clusterOf, describe, READ_ONLY, readOnlyBy, requireRowsInLog, requireServer, type Server } from "./server.ts";

/**
 * The settings of every connection of our own, whatever the server's defaults are: strict, without the modes that change
 * how a statement is parsed, and without long waits for row locks.
 */
const SESSION = `SET autocommit = 1, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', innodb_lock_wait_timeout = 1,
    sql_select_limit = 18446744073709551615, completion_type = 0`;

/** How long (ms) the server has to answer on a connection that ends others. */
const CONTROL_TIMEOUT_MS = 2_000;
/** How long (ms) an error of a connection is held back until what was running on it has ended at the server. */
export const GONE_MS = 1_000;
/** By how much (s) the wait for a lock of a table is shorter than the answer timeout, so that the server ends it. */
const TABLE_WAIT_MARGIN = 1;

/** Opens connections of our own to one server, all with the same settings, and knows what kind of server it is. */
export class Connector {
  /** Where the server is, and the options. */
  readonly target: ResolvedTarget;
  /** Statements that were abandoned and may still run at the server. */
  readonly abandoned: Abandoned;
  readonly #open = new Set<Connection>();
  readonly #doubtListeners = new Set<() => void>();
  readonly #closing = new AbortController();
  readonly #forQuestions = once((what: string) => this.connect(what));
  #known: Server | undefined;
  #hadPrimary = false;
  readonly #hosts: Rotation<Readonly<Record<string, unknown>>>;

  constructor(target: ResolvedTarget) {
    this.target = target;
    this.#hosts = new Rotation(target.hosts);
    this.abandoned = new Abandoned(async () => {
      const config = { ...this.#config, connectTimeout: CONTROL_TIMEOUT_MS };
      const control = await Connection.open(config, CONTROL_TIMEOUT_MS, new AbortController().signal);
      await control.query(SESSION);
      return control;
    });
  }

  /** The database as the caller named it; otherwise as the server names it. */
  get database(): string {
    return String(this.target.config.database ?? this.#known?.database ?? "");
  }

  /** What kind of server it is; `undefined` before the first connection. */
  get known(): Server | undefined {
    return this.#known;
  }

  /** The settings of a connection to the host that is used. */
  get #config(): Record<string, unknown> {
    return { ...this.target.config, ...this.#hosts.current };
  }

  /**
   * Opens a connection: of several hosts to one that takes writes, if there is one. `idle` is after how many seconds of
   * silence the server ends it, and with it its locks.
   */
  async connect(what: string, idle?: number): Promise<Connection> {
    for (let left = this.#hosts.count;; left--) {
      const { index } = this.#hosts;
      try {
        return await this.#connect(what, idle);
      } catch (error) {
        const isElsewhere = error instanceof BackendError && error.retryable && !this.#closing.signal.aborted;
        if (isElsewhere) this.#hosts.leave(index);
        if (!isElsewhere || left === 1) throw error;
      }
    }
  }

  async #connect(what: string, idle: number | undefined): Promise<Connection> {
    if (this.target.execute) {
      throw new UnsupportedError(`Cannot ${what} through a function: want a backend with a URL or a pool of mysql2`);
    }
    let connection: Connection | undefined;
    try {
      const opened = connection = await this.#openOne();
      this.#refuseClosed(what);
      await this.#setUp(connection, idle);
      // Each time: the address may lead to another server by now.
      this.#known = await describe((sql) => opened.query(sql));
      if (this.#hosts.count > 1 && readOnlyBy(this.#known)) throw notPrimary();
      requireRowsInLog(this.#known, this.target.options.mode);
      if (this.#known.readCommitted) await connection.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
      const { atServer } = connection;
      if (idle !== undefined) connection.carriesLocks = true;
      else if (atServer) connection.interrupt = () => this.abandoned.interrupt(atServer);
      return connection;
    } catch (error) {
      connection?.end(error as Error);
      this.#refuseClosed(what);
      throw translate(what, this.target.conceal(error));
    }
  }

  /**
   * Sets a connection up. It takes a GET_LOCK with a random name, by which it is found at the server: an id alone may
   * belong to another client after a restart.
   */
  async #setUp(connection: Connection, idle: number | undefined): Promise<void> {
    const marker = this.#known && clusterOf(this.#known) ? undefined : `lockmgr:at:${randomId()}`;
    const tableWait = Math.max(1, Math.floor(this.target.options.answerTimeout - TABLE_WAIT_MARGIN));
    const settings = [
      ...(marker ? [`@lockmgr_marker = GET_LOCK('${marker}', 0)`] : []),
      `lock_wait_timeout = ${tableWait}`,
      ...(idle === undefined ? [] : [`wait_timeout = ${Math.ceil(idle)}`]),
    ];
    await connection.query(`${SESSION}, ${settings.join(", ")}`);
    if (marker === undefined) return;
    const locate = async (control: Connection) => {
      const { rows: [[id]] } = await control.query(`SELECT IS_USED_LOCK('${marker}')`);
      return id === null ? null : Number(id);
    };
    connection.atServer = { id: connection.id, locate };
    connection.marker = marker;
  }

  /** Waits, within a bound, until what was running on a connection that has ended is over at the server. */
  async gone({ atServer }: Connection): Promise<boolean> {
    return atServer === undefined || await within(GONE_MS, this.abandoned.end(atServer));
  }

  async #openOne(): Promise<Connection> {
    const { options, prefersTls } = this.target;
    const config = this.#config;
    const open = (config: Record<string, unknown>) =>
      Connection.open(config, options.answerTimeout * 1e3, this.#closing.signal);
    const connection = await open(config).catch((error) => {
      if (prefersTls && isWithoutTls(error)) return open({ ...config, ssl: undefined });
      throw error;
    });
    this.#open.add(connection);
    connection.onEnd(() => {
      this.#open.delete(connection);
      if (connection.isInDoubt && connection.atServer) this.abandoned.end(connection.atServer);
    });
    return connection;
  }

  /**
   * Refuses a server on which locks of this mode do not hold.
   *
   * @throws {BackendError} A retryable one where the server is read-only and an earlier one was not: a switchover.
   * @throws {UnsupportedError} Otherwise.
   */
  require(server: Server, mode: Mode): void {
    if (mode !== "lease") this.refuseDemoted(`use "${mode}" mode`, server);
    requireServer(server, mode, this.target.options.table);
  }

  /** Refuses a read-only server where an earlier one took writes. */
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
    this.#doubtListeners.add(listener);
    return () => this.#doubtListeners.delete(listener);
  }

  /** Notifies the listeners: a connection leads to a server that is not the primary, and others may as well. */
  doubt(): void {
    for (const listener of [...this.#doubtListeners]) listener();
  }

  /** Runs one SELECT on a connection that is kept for such. */
  async ask(what: string, sql: string): Promise<Answer> {
    try {
      const kept = this.#forQuestions.current;
      if ((await kept?.catch(() => undefined))?.ended) this.#forQuestions.clear(kept);
      return await (await this.#forQuestions(what)).query(sql);
    } catch (error) {
      throw translate(what, this.target.conceal(error));
    }
  }

  /** Runs a SELECT without FROM: again on a new connection where the server is read-only. */
  async askPrimary(what: string, select: string): Promise<Answer> {
    const sql = `${select}, ${READ_ONLY} AS read_only`;
    const answer = await this.ask(what, sql);
    if (answer.rows[0].at(-1) === "0") return answer;
    this.doubt();
    (await this.#forQuestions.current)?.end(notPrimary());
    return await this.ask(what, sql);
  }

  /** Ends all connections, and those that are being opened. */
  close(): void {
    const reason = new BackendError("Cannot go on: the backend was disposed of");
    this.#closing.abort(reason);
    for (const connection of [...this.#open]) connection.end(reason, true);
  }

  /**
   * Waits so many milliseconds.
   *
   * @throws {BackendError} As soon as the backend is disposed of.
   */
  async pause(what: string, milliseconds: number): Promise<void> {
    await sleep(milliseconds, this.#closing.signal).catch(() => this.#refuseClosed(what));
  }

  #refuseClosed(what: string): void {
    if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
  }
}

const connectors = new WeakMap<Backend, Connector>();

/** Marks backends that another copy of this package may have made. */
const KNOWN = Symbol.for("@lockmgr/lockmgr/connections");

/** Remembers the connector of a backend. */
export function rememberConnector(backend: Backend, connector: Connector): void {
  connectors.set(backend, connector);
  Object.defineProperty(backend, KNOWN, { value: true });
}

/**
 * Returns the connector of a backend, for further connections to its server.
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
