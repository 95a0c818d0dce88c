import { BackendError } from "../../../core/errors.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { Session } from "../../sessions/session.ts";
import { answerWithin } from "../connection/client.ts";
import {
  endInstance,
  type Opened,
  processIdOf,
  sendStatement,
  type Source,
  type SqlResult,
} from "../connection/driver.ts";
import { isBroken, isEndedByServer, requirePrimary } from "../errors.ts";
import { READ_ONLY } from "../rows/fragments.ts";

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
  SELECT pg_backend_pid()::text AS pid,
    set_config('tcp_user_timeout', $1, false), set_config('tcp_keepalives_idle', $2, false),
    set_config('tcp_keepalives_interval', $2, false), set_config('tcp_keepalives_count', '3', false),
    set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
    set_config('default_transaction_isolation', 'read committed', false),
    CASE WHEN current_setting('server_version_num')::int >= 140000
      THEN set_config('idle_session_timeout', $1, false) END AS idle,
    CASE WHEN current_setting('server_version_num')::int >= 170000
      THEN set_config('transaction_timeout', '0', false) END AS whole`;

/** A dedicated connection to PostgreSQL: an instance of postgres.js with one connection. */
export class PostgresSession extends Session {
  /** Whether no proxy is in between. */
  readonly direct: boolean;
  readonly #instance: Opened;
  readonly #source: Source;

  /** @param pid The server's process id. */
  constructor(source: Source, instance: Opened, pid: string, direct: boolean, timeout: number, heardAt: number) {
    super(pid, timeout, heardAt);
    this.#source = source;
    this.#instance = instance;
    this.direct = direct;
  }

  /** Sends one statement. When no answer comes in time the session is given up: nothing says what it holds. */
  send(text: string, parameters: (string | null)[] = [], prepare = true): Promise<SqlResult> {
    return this.exchange(async () => {
      const { sql, sockets } = this.#instance;
      sockets.ref();
      try {
        const answer = sendStatement(sql, text, parameters, prepare);
        return requirePrimary(await answerWithin(this.giveUpAfter / 1e3, answer, () => this.giveUp()));
      } finally {
        sockets.unref();
      }
    });
  }

  protected ping(): Promise<unknown> {
    return this.send(`SELECT ${READ_ONLY}`);
  }

  protected isFatal(error: unknown): boolean {
    return isBroken(error);
  }

  protected disconnect(reason: Error, orderly: boolean): Promise<void> {
    if (!orderly && this.direct && !isEndedByServer(reason)) this.#source.abandoned?.add(this.id, []);
    return endInstance(this.#instance, orderly ? LAST_ANSWERS : 0);
  }
}

/** What a new session is opened with. */
export interface SessionOptions {
  /** Called for every notification. */
  readonly onNotify?: (channel: string, payload: string) => void;
  /** Ends the opening, for which a silent server has no time limit but ours. */
  readonly signal?: AbortSignal;
}

/** Opens a session that the server ends after `timeout` seconds of silence. */
export async function openSession(
  source: Source,
  timeout: number,
  { onNotify, signal }: SessionOptions = {},
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
    const setUp = sendStatement(instance.sql, SET_UP, [milliseconds, seconds], false);
    const result = await answerWithin(OPENING_TIMEOUT, setUp);
    const pid = result[0].pid!;
    session = new PostgresSession(source, instance, pid, processIdOf(result) === pid, timeout, sentAt);
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
