import { BackendError } from "../../../core/errors.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { Session } from "../../sessions/session.ts";
import type { GuardedSource } from "../connection/abandoned.ts";
import { answerWithin } from "../connection/client.ts";
import {
  endInstance,
  type Opened,
  processIdOf,
  type Query,
  sendStatement,
  type SqlResult,
} from "../connection/driver.ts";
import { isBroken, isEndedByServer, otherServer, requirePrimary } from "../errors.ts";
import { READ_ONLY, SERVER } from "../rows/fragments.ts";

/** Seconds to wait for a new session. */
const OPENING_TIMEOUT = 15;
/** Seconds that statements still on their way have when a session is closed in good order. */
const LAST_ANSWERS = 1;

/**
 * Settings by which the server ends a session whose client has vanished: idle for too long, or data not acknowledged
 * (keepalives do not work while data is under way). `idle_session_timeout` came with PostgreSQL 14. Limits that the operator
 * has set for ordinary statements must not end it.
 */
const SET_UP = `
  SELECT pg_backend_pid()::text AS pid, ${SERVER},
    set_config('tcp_user_timeout', $1, false), set_config('tcp_keepalives_idle', $2, false),
    set_config('tcp_keepalives_interval', $2, false), set_config('tcp_keepalives_count', '3', false),
    set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
    set_config('default_transaction_isolation', 'read committed', false),
    CASE WHEN current_setting('server_version_num')::int >= 140000
      THEN set_config('idle_session_timeout', $3, false) END AS idle,
    CASE WHEN current_setting('server_version_num')::int >= 170000
      THEN set_config('transaction_timeout', '0', false) END AS whole`;

/** A heartbeat. */
const PING = `SELECT ${READ_ONLY}, ${SERVER}`;
/**
 * A heartbeat that commits where commits wait for a standby: an old primary that its standbys have left still answers,
 * and only its commits show that no standby was promoted before the heartbeat was sent.
 */
const CONFIRMED_PING = `${PING}, CASE
    WHEN current_setting('synchronous_standby_names') <> '' AND current_setting('transaction_read_only') = 'off'
    THEN pg_logical_emit_message(true, 'lockmgr', '')::text END AS confirmed`;

/** What a session is made of. */
interface SessionParts {
  readonly source: GuardedSource;
  readonly instance: Opened;
  /** The server's process id. */
  readonly pid: string;
  /** Which server has answered. */
  readonly server: string;
  /** Whether no proxy is in between. */
  readonly direct: boolean;
  /** Seconds of silence after which the server ends it. */
  readonly timeout: number;
  /** When the request was sent that the server has answered last (ms, monotonic). */
  readonly heardAt: number;
  /** Its heartbeat. */
  readonly ping: string;
}

/** A dedicated connection to PostgreSQL: an instance of postgres.js with one connection. */
export class PostgresSession extends Session {
  readonly #parts: SessionParts;

  constructor(parts: SessionParts) {
    super(parts.pid, parts.timeout, parts.heardAt);
    this.#parts = parts;
  }

  /** Whether no proxy is in between. */
  get direct(): boolean {
    return this.#parts.direct;
  }

  /** Sends one statement. When no answer comes in time the session is given up: nothing says what it holds. */
  send(text: string, parameters: (string | null)[] = [], prepare = true): Promise<SqlResult> {
    return this.exchange(async () => {
      const { instance: { sql, sockets }, server } = this.#parts;
      sockets.ref();
      try {
        const answer = sendStatement(sql, text, parameters, prepare);
        const rows = requirePrimary(await answerWithin(this.giveUpAfter / 1e3, answer, () => this.giveUp()));
        if (rows[0]?.server !== undefined && rows[0].server !== server) throw otherServer();
        return rows;
      } finally {
        sockets.unref();
      }
    });
  }

  /**
   * Sends a statement that may wait at the server for long. The lock that it is granted counts from a heartbeat
   * afterwards: the answer does not say when it was sent.
   *
   * @param answered Waits for the answer, or for what else ends the wait.
   */
  async wait(text: string, parameters: string[], answered: (query: Query) => Promise<SqlResult>): Promise<void> {
    const { sql, sockets } = this.#parts.instance;
    sockets.ref();
    try {
      await this.withoutHeartbeats(async () =>
        requirePrimary(await answered(sendStatement(sql, text, parameters, false)))
      );
      await this.ping();
    } finally {
      sockets.unref();
    }
  }

  protected ping(): Promise<unknown> {
    return this.send(this.#parts.ping);
  }

  protected isFatal(error: unknown): boolean {
    return isBroken(error);
  }

  protected disconnect(reason: Error, orderly: boolean): Promise<void> {
    const { source, instance, direct } = this.#parts;
    if (!orderly && direct && !isEndedByServer(reason)) source.abandoned?.add(this.id, []);
    return endInstance(instance, orderly ? LAST_ANSWERS : 0);
  }
}

/** What a new session is opened with. */
interface SessionOptions {
  /** Called for every notification. */
  readonly onNotify?: (channel: string, payload: string) => void;
  /** Ends the opening, for which a silent server has no time limit but ours. */
  readonly signal?: AbortSignal;
  /** Seconds of silence after which the server ends it. @default the timeout */
  readonly silence?: number;
}

/** Opens a session that the server ends after `timeout` seconds without a sign of the network, or of silence. */
export async function openSession(
  source: GuardedSource,
  timeout: number,
  { onNotify, signal, silence = timeout }: SessionOptions = {},
): Promise<PostgresSession> {
  let session: PostgresSession | undefined;
  let lost: BackendError | undefined;
  const onClose = () => {
    lost = new BackendError("Cannot use the session: its connection was closed", { retryable: true });
    session?.end(lost);
  };
  const cut = () => session ?? endInstance(instance, 0);
  const notifying = onNotify ? { onnotify: onNotify } : {};
  // a lost connection ends the instance: the driver would greet again and again
  const instance = source.open({ max: 1, prepare: true, idle_timeout: 0, onclose: onClose, ...notifying }, cut);
  instance.sockets.ref();
  signal?.addEventListener("abort", cut);
  try {
    signal?.throwIfAborted();
    const sentAt = monotonic();
    const milliseconds = String(Math.ceil(timeout * 1e3));
    const seconds = String(Math.max(1, Math.ceil(timeout / 3)));
    const idle = String(Math.ceil(silence * 1e3));
    const setUp = sendStatement(instance.sql, SET_UP, [milliseconds, seconds, idle], false);
    const result = await answerWithin(OPENING_TIMEOUT, setUp);
    const { pid, server } = result[0] as { pid: string; server: string };
    const direct = processIdOf(result) === pid;
    const ping = onNotify ? PING : CONFIRMED_PING; // no lock ends with one that listens
    session = new PostgresSession({ source, instance, pid, server, direct, timeout: silence, heardAt: sentAt, ping });
    if (lost) session.end(lost);
    return session;
  } catch (error) {
    await endInstance(instance, 0);
    throw instance.explain(error);
  } finally {
    signal?.removeEventListener("abort", cut);
    instance.sockets.unref();
  }
}
