/**
 * How an advisory lock is tried for: on the caller's transaction, or on a session of our own.
 *
 * @module
 */
import type { Backend, SessionHandle } from "../../../core/backend.ts";
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import { type AdvisoryKey, keyArguments, keyParameters } from "./key.ts";
import { inTime } from "../connection/client.ts";
import { type AdvisoryEntry, type AdvisorySessions, advisorySessions } from "./sessions.ts";
import { isInstance, isSql, type Sender, sourceOf } from "../connection/driver.ts";
import { isNotPrimary, translate } from "../errors.ts";
import { READ_ONLY } from "../rows/fragments.ts";
import type { PostgresSession } from "../session/session.ts";

/** Pauses between tries (ms): from the first to the last, growing by half. A blocked statement would hold a snapshot. */
const PAUSE_FIRST = 2;
const PAUSE_LAST = 40;

/** How long an attempt may still be unanswered when the time is over (s). */
const LAST_ANSWER = 2;

/** What became of an attempt: how to give it back, and the session it rides on. */
export interface Taken {
  /** Gives it back; whether it was still held. */
  readonly release: () => Promise<boolean>;
  /** The session; a transaction lock has none. */
  readonly lifeline?: SessionHandle;
}

/** How to try once (`undefined` when it is held), and the sessions that must stay meanwhile. */
export interface Attempt {
  /** Tries once. */
  readonly attempt: () => Promise<Taken | undefined>;
  /** What to keep open. */
  readonly sessions?: AdvisorySessions;
}

/** How one attempt is made on this client. */
export async function attemptOn(client: unknown, key: AdvisoryKey, shared: boolean, prefix: string): Promise<Attempt> {
  if (isInstance(client)) {
    const sessions = advisorySessions(client, await sourceOf(client.options));
    return { sessions, attempt: () => onSession(sessions, key, shared, prefix) };
  }
  if (isSql(client)) {
    if ("savepoint" in client) return { attempt: () => inTransaction(client, key, shared, prefix) };
    throw new TypeError('Cannot take an advisory lock on a reserved connection: want its "sql", or a transaction');
  }
  if (typeof client !== "object" || client === null || (client as Backend).engine !== "postgres") {
    throw new TypeError('Cannot take an advisory lock on this: want a PostgreSQL backend or a "sql" of postgres.js');
  }
  const sessions = advisorySessions(client);
  return { sessions, attempt: () => onSession(sessions, key, shared, prefix) };
}

/** Tries once, or with a limit (ms) until it is had; the sessions stay when it is. */
export async function take(how: Attempt, limit: number | undefined): Promise<Taken | undefined> {
  const { attempt, sessions } = how;
  sessions?.enter();
  let taken: Taken | undefined;
  try {
    taken = await (limit === undefined ? attempt() : patiently(how, limit));
  } finally {
    if (taken === undefined) await sessions?.leave();
  }
  return taken;
}

/** Tries until it is had or the time is over; the last try comes at the end. */
async function patiently(how: Attempt, limit: number): Promise<Taken | undefined> {
  const deadline = monotonic() + limit;
  for (let pause = PAUSE_FIRST;; pause = Math.min(pause * 1.5, PAUSE_LAST)) {
    const taken = await tryBy(deadline, how);
    const left = deadline - monotonic();
    if (taken || left <= 0) return taken;
    await sleep(Math.min(pause * (0.5 + Math.random()), left));
  }
}

/** Tries once. What a silent server grants when nobody waits for it any more is given back. */
async function tryBy(deadline: number, { attempt, sessions }: Attempt): Promise<Taken | undefined> {
  const answer = attempt();
  const seconds = Math.ceil(Math.max(deadline - monotonic(), 0) / 1e3) + LAST_ANSWER;
  return await inTime(answer, seconds, () => {
    sessions?.enter(); // until that answer
    const giveBack = async (taken?: Taken) => void await (taken ? taken.release() : sessions?.leave());
    answer.then(giveBack, () => giveBack()).catch(() => {}); // it ends with its session
  });
}

/** On the caller's own transaction; it ends with it. */
async function inTransaction(
  sql: Sender,
  key: AdvisoryKey,
  shared: boolean,
  prefix: string,
): Promise<Taken | undefined> {
  const lock = `pg_try_advisory_xact_lock${shared ? "_shared" : ""}`;
  const [row] = await sql.unsafe(`${prefix}SELECT ${lock}(${keyArguments(key)})::text AS taken`, keyParameters(key), {
    simple: false,
  });
  return row.taken === "true" ? { release: () => Promise.resolve(false) } : undefined;
}

/** On a session of our own, shared by all advisory locks of this client. */
async function onSession(
  sessions: AdvisorySessions,
  key: AdvisoryKey,
  shared: boolean,
  prefix: string,
): Promise<Taken | undefined> {
  const id = keyParameters(key).join();
  const suffix = shared ? "_shared" : "";
  const call = (name: string) => `${prefix}SELECT ${name}${suffix}(${keyArguments(key)})::text AS done, ${READ_ONLY}`;
  const ask = async (session: PostgresSession, name: string) => {
    try {
      const [row] = await session.send(call(name), keyParameters(key), prefix === "");
      return row.done === "true";
    } catch (error) {
      await session.close(); // nobody can say what it holds
      throw error;
    }
  };
  const entry = await sessions.alone(id, () => join(sessions, id, shared, ask));
  return entry && { release: () => release(sessions, id, entry, ask), lifeline: entry.session };
}

/** Asks one question about the key on a session; an error ends the session. */
type Ask = (session: PostgresSession, name: string) => Promise<boolean>;

/** Takes the lock on the session, or shares what this process has of it already. */
async function join(
  sessions: AdvisorySessions,
  id: string,
  shared: boolean,
  ask: Ask,
): Promise<AdvisoryEntry | undefined> {
  const held = sessions.find(id);
  if (held && !(held.shared && shared)) return undefined;
  const entry = held ?? { shared, session: await sessions.session(), holders: 0 };
  if (held === undefined) {
    if (!await ask(entry.session, "pg_try_advisory_lock")) return undefined;
    sessions.add(id, entry);
  }
  entry.holders++;
  return entry;
}

/** Frees a session lock when its last holder in this process gives it back. */
async function release(sessions: AdvisorySessions, id: string, entry: AdvisoryEntry, ask: Ask): Promise<boolean> {
  try {
    return await sessions.alone(id, async () => {
      if (entry.session.ended) return false;
      if (--entry.holders > 0) return true;
      sessions.remove(id);
      return await ask(entry.session, "pg_advisory_unlock");
    });
  } catch (error) {
    if (isNotPrimary(error)) return false; // a lock of a server that takes no writes grants nothing
    throw translate(`release advisory lock ${id}`, error);
  } finally {
    await sessions.leave();
  }
}
