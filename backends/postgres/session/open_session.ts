import { BackendError } from "../../../core/errors.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { endInstance, inTime } from "../connection/client.ts";
import type { Source } from "../connection/driver.ts";
import { isEndedByServer } from "../errors.ts";
import { inlineParameters } from "../connection/inline_parameters.ts";
import { Session } from "./session.ts";

/** Seconds to wait for a new session. */
const OPENING = 15;

/**
 * What bounds the life of a session whose client has vanished: idle for too long, or data not acknowledged (keepalives
 * alone do not help while data is under way). `idle_session_timeout` came with PostgreSQL 14. Limits that the operator
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

/** What a new session is opened with. */
export interface SessionOptions {
  /** Told what others notify. */
  readonly onNotify?: (channel: string, payload: string) => void;
  /** Ends the opening, for which a silent server has no time limit but ours. */
  readonly signal?: AbortSignal;
}

/** Opens a session that the server ends after `timeout` seconds of silence. */
export async function openSession(
  source: Source,
  timeout: number,
  { onNotify, signal }: SessionOptions = {},
): Promise<Session> {
  let session: Session | undefined;
  const closed = () => new BackendError("Cannot use a session of PostgreSQL: its connection was closed");
  let early: BackendError | undefined;
  const cut = () => session ?? endInstance(instance, 0);
  const instance = source.open({
    max: 1,
    prepare: true,
    idle_timeout: 0,
    onclose: () => session ? session.end(closed()) : early = closed(),
    ...(onNotify ? { onnotify: onNotify } : {}),
  }, cut); // the driver would greet again and again
  instance.sockets.ref();
  signal?.addEventListener("abort", cut);
  try {
    signal?.throwIfAborted();
    const askedAt = monotonic();
    const milliseconds = String(Math.ceil(timeout * 1e3));
    const seconds = String(Math.max(1, Math.ceil(timeout / 3)));
    const setUp = instance.sql.unsafe(inlineParameters(SET_UP, [milliseconds, seconds])!, [], {
      prepare: false,
      simple: false,
    });
    const result = await inTime(setUp, OPENING, () => {});
    const pid = result[0].pid!;
    const direct = String(result.state?.pid) === pid;
    session = new Session(instance, timeout, { pid, direct }, askedAt);
    if (direct && source.abandoned) {
      session.onLoss = (reason) => isEndedByServer(reason) || source.abandoned!.add(pid, []);
    }
    if (early) session.end(early);
    return session;
  } catch (error) {
    await endInstance(instance, 0);
    throw instance.explain(error);
  } finally {
    signal?.removeEventListener("abort", cut);
    instance.sockets.unref();
  }
}
