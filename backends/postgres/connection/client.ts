/**
 * The three kinds of clients that statements of leases go through: connections of our own, a `sql` instance that the
 * program has anyway, and any function that sends a statement.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { afterReads, startTimer } from "../../../core/util/runtime.ts";
import type { AbandonedConnections } from "./abandoned.ts";
import { isLate, lateAnswer, QueryTimeouts } from "./query_timeouts.ts";
import { OutsideTransactions } from "./caller_transaction.ts";
import type { Instance, Opened, PostgresExecutor, Query, Source, SqlResult } from "./driver.ts";
import { isBroken, isEndedByServer, isNotPrimary, requirePrimary } from "../errors.ts";
import { inlineParameters } from "./inline_parameters.ts";
import { rowsOf } from "./row_shapes.ts";

/** Locks that a statement is about. */
export type About = readonly { readonly name: string }[];

/** Sends statements. */
export interface Client {
  /** Whether statements may be prepared on the server: not before it is known that no proxy is in between. */
  prepare: boolean;
  /**
   * Sends one statement with text parameters, once nothing that was given up before can take effect on the locks that it
   * is about.
   */
  send(text: string, parameters?: (string | null)[], about?: About): Promise<SqlResult>;
  /** Gives up the connections there are, where they are our own: what they lead to may not be the primary. */
  discard?(): void;
  /** Closes what was opened here. */
  close(): Promise<void>;
}

/** Seconds to wait for an answer. */
export const DEFAULT_ANSWER_TIMEOUT = 15;
/** Seconds that statements still on their way have when their connections are to be closed. */
const LAST_ANSWERS = 1;

function disposedOf(): BackendError {
  return new BackendError("Cannot send a statement: the backend was disposed of");
}

/** Sends a statement through an instance, unprepared if possible in one round trip. */
function ask(sql: Instance, text: string, parameters: (string | null)[], prepare: boolean): Query {
  const whole = prepare ? undefined : inlineParameters(text, parameters);
  const [statement, values] = whole === undefined ? [text, parameters] : [whole, []];
  return sql.unsafe(statement, values, { prepare, simple: false });
}

/**
 * Sees to it that a statement without an answer does not take effect later.
 *
 * @param pid The server's process that it was sent to.
 * @param query The statement, where the connection has to stay.
 */
function giveUp(
  abandoned: AbandonedConnections | undefined,
  pid: string,
  about: About,
  error: unknown,
  query?: Query,
): void {
  if (isNotPrimary(error)) return; // it was answered
  if (isEndedByServer(error)) abandoned?.noteEnded(pid);
  else if (isLate(error) && query) abandoned?.cancel(pid, about, query);
  else if (isLate(error) || isBroken(error)) abandoned?.add(pid, about);
}

/** Rejects when no answer came in time; `late` is called then. */
export async function inTime<T>(answer: PromiseLike<T>, seconds: number, late: () => void): Promise<T> {
  let stop: (() => void) | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    let over = false;
    const timer = startTimer(seconds * 1e3, () => {
      afterReads(() => {
        if (over) return;
        reject(lateAnswer(seconds));
        late();
      });
    }, true);
    stop = () => (over = true, timer.stop());
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    stop!();
  }
}

/**
 * Ends an instance, with `seconds` for statements that are still on their way, and cuts what is left of its connections.
 * What these had to say is of no interest: every statement that was cut off fails by itself.
 */
export async function endInstance({ sql, sockets }: Opened, seconds: number): Promise<void> {
  sockets.ref();
  try {
    await sql.end({ timeout: seconds });
  } catch {
    // A connection that is broken cannot be ended in good order.
  }
  await sockets.destroy();
}

/**
 * Connections of our own. An instance of postgres.js is replaced as soon as one of its connections breaks: a statement
 * that it puts on a connection between the error and the end of its socket is never answered, nor is any after it on
 * that connection, or it is answered with the old error (https://github.com/porsager/postgres/issues/1208).
 */
export class OwnPool implements Client {
  prepare = false;
  readonly #source: Source;
  readonly #max: number;
  #current: Opened | undefined;
  readonly #ending = new Set<Promise<void>>();
  readonly #watch: QueryTimeouts;
  #closed = false;
  #underWay = 0;

  constructor(source: Source, max: number, answerTimeout = DEFAULT_ANSWER_TIMEOUT) {
    this.#source = source;
    this.#max = max;
    this.#watch = new QueryTimeouts(answerTimeout);
  }

  async send(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    if (this.#closed) throw disposedOf();
    const { abandoned } = this.#source;
    if (abandoned?.any) await abandoned.settled(about);
    const current = this.#current ??= this.#open();
    current.sockets.ref();
    this.#underWay++;
    let query: Query | undefined;
    try {
      query = ask(current.sql, text, parameters, this.prepare);
      return requirePrimary(await this.#watch.over(query, () => this.#replace(current, 0)));
    } catch (error) {
      if (isBroken(error)) this.#replace(current, LAST_ANSWERS);
      // behind a pooler the process id means nothing to the server
      const pid = this.prepare ? query?.state?.pid : undefined;
      if (pid) giveUp(abandoned, String(pid), about, error);
      throw current.explain(error);
    } finally {
      this.#underWay--;
      current.sockets.unref();
    }
  }

  /** Whether no statement is under way. */
  get idle(): boolean {
    return this.#underWay === 0;
  }

  discard(): void {
    if (this.#current) this.#replace(this.#current, LAST_ANSWERS);
  }

  #open(): Opened {
    const opened = this.#source.open({ max: this.#max, prepare: true }, () => {
      this.#replace(opened, opened.sockets.refusal ? 0 : LAST_ANSWERS); // no answer comes from a server that was refused
    });
    return opened;
  }

  /** What is on its way has `seconds` to arrive; what comes from now on goes through new connections. */
  #replace(broken: Opened, seconds: number): void {
    if (this.#current !== broken) return;
    this.#current = undefined;
    const ending = endInstance(broken, seconds);
    this.#ending.add(ending);
    ending.then(() => this.#ending.delete(ending));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watch.close();
    const current = this.#current;
    this.#current = undefined;
    if (current) await endInstance(current, LAST_ANSWERS);
    await Promise.all(this.#ending);
  }
}

/** A `sql` instance of the caller's: never closed here. */
export class ExternalSql implements Client {
  prepare = false;
  readonly #sql: Instance;
  readonly #answerTimeout: number;
  readonly #abandoned: AbandonedConnections | undefined;
  #closed = false;

  constructor(sql: Instance, answerTimeout = DEFAULT_ANSWER_TIMEOUT, abandoned?: AbandonedConnections) {
    this.#sql = sql;
    this.#answerTimeout = answerTimeout;
    this.#abandoned = abandoned;
  }

  async send(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    if (this.#closed) throw disposedOf();
    if (this.#abandoned?.any) await this.#abandoned.settled(about);
    const prepare = this.prepare && this.#sql.options.prepare !== false;
    const query = ask(this.#sql, text, parameters, prepare);
    let answer: SqlResult;
    try {
      answer = await inTime(query, this.#answerTimeout, () => {});
    } catch (error) {
      const pid = this.prepare ? query.state?.pid : undefined; // behind a pooler it means nothing to the server
      if (pid) giveUp(this.#abandoned, String(pid), about, error, query);
      throw error;
    }
    const rows = requirePrimary(rowsOf(answer)); // the program's own transformations of names and values are undone
    return rows === answer ? answer : Object.assign([...rows], { state: answer.state });
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }
}

/** Any function that sends a statement: its promise is awaited, since nothing that it has sent can be cancelled. */
export class ExternalExecutor implements Client {
  prepare = false;
  readonly #sending: OutsideTransactions;
  #closed = false;

  constructor(execute: PostgresExecutor) {
    this.#sending = new OutsideTransactions(async (text, parameters) => rowsOf(await execute(text, parameters)));
  }

  async send(text: string, parameters: (string | null)[] = []): Promise<SqlResult> {
    if (this.#closed) throw disposedOf();
    return await this.#sending.send(text, parameters);
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }
}
