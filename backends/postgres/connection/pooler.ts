/**
 * Whether sessions can be trusted to be the server's own: behind a transaction pooler two clients were both granted the
 * same advisory lock, and it stayed after both had gone.
 *
 * @module
 */
import { UnsupportedError } from "../../../core/errors.ts";
import { randomId } from "../../../core/util/runtime.ts";
import type { Source } from "./driver.ts";
import { translate } from "../errors.ts";
import type { Server } from "./server.ts";
import { openSession } from "../session/session.ts";

/** Seconds that the two sessions of the probe may take. */
const PROBE_TIMEOUT = 15;

/**
 * Refuses what has no sessions to keep locks on.
 *
 * @throws {UnsupportedError} For a replica, CockroachDB or a pooler that hands server connections around.
 */
export async function requireSessions(use: string, server: Server, source: Source): Promise<void> {
  const refuse = (reason: string, wanted = '"lease" mode, or an address of the server itself') =>
    new UnsupportedError(`Cannot use ${use} here: ${reason}; want ${wanted}`);
  if (server.replica) {
    const reason = "this is a read-only replica, whose advisory locks nobody else sees";
    throw refuse(reason, 'an address of the primary, for "lease" mode as well');
  }
  if (/cockroach/i.test(server.version)) {
    throw refuse("CockroachDB's session-level advisory locks do nothing and say that they were granted");
  }
  if (server.direct) return;
  try {
    if (!await poolsTransactions(source)) return;
  } catch (error) {
    throw translate(`find out whether ${use} can be used`, error);
  }
  throw refuse("a pooler in transaction mode is in between, which hands the same session to other programs");
}

/** Whether waiters can be told of releases: by LISTEN, which a transaction pooler accepts and then loses. */
export function canListen(server: Server): boolean {
  return server.direct && !server.replica && !/cockroach/i.test(server.version);
}

/**
 * Some proxy is in between: a setting made in one session and seen in another means that sessions are handed around.
 * A backend that changes between two statements means the same.
 */
async function poolsTransactions(source: Source): Promise<boolean> {
  const first = await openSession(source, PROBE_TIMEOUT);
  try {
    const second = await openSession(source, PROBE_TIMEOUT);
    try {
      const nonce = randomId();
      await first.send("SELECT set_config('lockmgr.probe', $1, false) AS made", [nonce], false);
      const [seen] = await second.send("SELECT current_setting('lockmgr.probe', true) AS made", [], false);
      const [again] = await first.send("SELECT pg_backend_pid()::text AS pid", [], false);
      return seen.made === nonce || again.pid !== first.id || first.id === second.id;
    } finally {
      await second.close();
    }
  } finally {
    await first.close();
  }
}
