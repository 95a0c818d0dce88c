/**
 * How an advisory lock is acquired: on the caller's transaction, or on a session of our own.
 *
 * @module
 */
import type { Backend } from "../../../core/backend.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { answerWithin } from "../connection/client.ts";
import { isInstance, isSql, isTransaction, type Sender, sendStatement, sourceOf } from "../connection/driver.ts";
import { type AdvisoryKey, keyArguments, keyParameters } from "./key.ts";
import { type Acquired, type AdvisorySessions, advisorySessions } from "./sessions.ts";

/** Pauses between tries. A statement that waits for the lock would hold a snapshot. */
const PAUSES = { first: 2, longest: 40, factor: 1.5, jitter: 1 };

/** Seconds for the answer of an attempt when the wait is over. */
const LAST_ANSWER_SECONDS = 2;

/** How to try once. */
export interface Attempt {
  /** Tries once; returns `undefined` when the lock is held. */
  readonly attempt: () => Promise<Acquired | undefined>;
  /** The sessions that have to stay open meanwhile. */
  readonly sessions?: AdvisorySessions;
}

/** Returns how to try on this client. */
export async function attemptOn(client: unknown, key: AdvisoryKey, shared: boolean, prefix: string): Promise<Attempt> {
  if (isTransaction(client)) return { attempt: () => inTransaction(client, key, shared, prefix) };
  if (isSql(client) && !isInstance(client)) {
    throw new TypeError('Cannot take an advisory lock on a reserved connection: want its "sql", or a transaction');
  }
  if (!isInstance(client) && (client as Partial<Backend> | null | undefined)?.engine !== "postgres") {
    throw new TypeError('Cannot take an advisory lock on this: want a PostgreSQL backend or a "sql" of postgres.js');
  }
  const source = isInstance(client) ? await sourceOf(client.options) : undefined;
  const sessions = advisorySessions(client as object, source);
  return { sessions, attempt: () => sessions.acquire(key, shared, prefix) };
}

/** Tries once, or with a limit (ms) until the lock is acquired. */
export async function acquireBy(how: Attempt, limit: number | undefined): Promise<Acquired | undefined> {
  const { attempt, sessions } = how;
  sessions?.enter();
  let acquired: Acquired | undefined;
  try {
    acquired = await (limit === undefined ? attempt() : acquireWithin(how, limit));
  } finally {
    if (acquired === undefined) await sessions?.leave();
  }
  return acquired;
}

/** Tries until the lock is acquired or the time is over; the last try is at its end. */
async function acquireWithin(how: Attempt, limit: number): Promise<Acquired | undefined> {
  const deadline = monotonic() + limit;
  const pauses = new Backoff(PAUSES);
  for (;;) {
    const acquired = await attemptBy(deadline, how);
    const left = deadline - monotonic();
    if (acquired || left <= 0) return acquired;
    await pauses.wait(undefined, left);
  }
}

/** Tries once. What a silent server grants after the deadline is released. */
function attemptBy(deadline: number, { attempt, sessions }: Attempt): Promise<Acquired | undefined> {
  const answer = attempt();
  const seconds = Math.ceil(Math.max(deadline - monotonic(), 0) / 1e3) + LAST_ANSWER_SECONDS;
  return answerWithin(seconds, answer, () => {
    sessions?.enter(); // until that answer
    const undo = async (acquired?: Acquired) => void await (acquired ? acquired.release() : sessions?.leave());
    answer.then(undo, () => undo()).catch(() => {}); // the lock ends with its session
  });
}

/** Tries once on the caller's transaction; the lock ends with it. */
async function inTransaction(
  sql: Sender,
  key: AdvisoryKey,
  shared: boolean,
  prefix: string,
): Promise<Acquired | undefined> {
  const lock = `pg_try_advisory_xact_lock${shared ? "_shared" : ""}`;
  const text = `${prefix}SELECT ${lock}(${keyArguments(key)})::text AS acquired`;
  const [row] = await sendStatement(sql, text, keyParameters(key), false);
  return row.acquired === "true" ? { release: () => Promise.resolve(false) } : undefined;
}
