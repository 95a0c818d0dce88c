/**
 * The clients that statements go through: connections of our own, a `sql` instance of the caller's, and a function that
 * sends a statement.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { InProgress } from "../../../core/util/in_progress.ts";
import { isBroken, isEndedByServer, isNotPrimary, requirePrimary } from "../errors.ts";
import type { AbandonedConnections, About, GuardedSource } from "./abandoned.ts";
import { AnswerTimeout, answerWithin, DEFAULT_ANSWER_TIMEOUT } from "./answer_timeout.ts";
import { OutsideTransactions } from "./caller_transaction.ts";
import {
  endInstance,
  type Instance,
  mayPrepare,
  type Opened,
  type PostgresExecutor,
  processIdOf,
  type Query,
  sendStatement,
  type SqlResult,
} from "./driver.ts";
import { rowsOf } from "./row_shapes.ts";

/** Sends statements. */
export interface Client {
  /** Whether statements may be prepared at the server: only once it is known that no proxy is in between. */
  prepare: boolean;
  /**
   * Sends one statement with text parameters, once no statement that was given up before can take effect on the locks
   * that it is about.
   */
  send(text: string, parameters?: (string | null)[], about?: About): Promise<SqlResult>;
  /** Replaces connections of our own, since they may not lead to the primary. */
  discard?(): void;
  /** Closes what was opened here. */
  close(): Promise<void>;
}

/** What fails when the backend is disposed of meanwhile. */
export const SEND = "send a statement";
/** Seconds for statements in progress when their connections are closed. */
const LAST_ANSWERS = 1;

/**
 * Makes sure that a statement without an answer does not take effect later.
 *
 * @param query The statement, where its connection is the caller's and stays.
 */
export function abandon(
  abandoned: AbandonedConnections | undefined,
  pid: string,
  about: About,
  error: unknown,
  query?: Query,
): void {
  if (isNotPrimary(error)) return; // it was answered
  const late = error instanceof AnswerTimeout;
  if (isEndedByServer(error)) abandoned?.noteEnded(pid);
  else if (late && query) abandoned?.cancel(pid, about, query);
  else if (late || isBroken(error)) abandoned?.add(pid, about);
}

/**
 * Connections of our own. An instance of postgres.js is replaced as soon as one of its connections breaks: a statement
 * that it sends on a connection between the error and the end of its socket is never answered, nor is any after it on
 * that connection, or it is answered with the old error (https://github.com/porsager/postgres/issues/1208).
 */
export class OwnPool implements Client {
  prepare = false;
  readonly #source: GuardedSource;
  readonly #connections: number;
  readonly #answerTimeout: number;
  readonly #ending = new Set<Promise<void>>();
  #current: Opened | undefined;
  #closed = false;
  #inProgress = 0;

  constructor(source: GuardedSource, connections: number, answerTimeout = DEFAULT_ANSWER_TIMEOUT) {
    this.#source = source;
    this.#connections = connections;
    this.#answerTimeout = answerTimeout;
  }

  async send(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    if (this.#closed) throw new BackendError(`Cannot ${SEND}: the backend was disposed of`);
    const { abandoned } = this.#source;
    if (abandoned?.any) await abandoned.settled(about);
    const current = this.#current ??= this.#open();
    current.sockets.ref();
    this.#inProgress++;
    let query: Query | undefined;
    try {
      query = sendStatement(current.sql, text, parameters, this.prepare);
      return requirePrimary(await answerWithin(this.#answerTimeout, query, () => this.#replace(current, 0)));
    } catch (error) {
      if (isBroken(error)) this.#replace(current, LAST_ANSWERS);
      const pid = this.prepare ? processIdOf(query) : undefined; // a pooler's is not the server's
      if (pid) abandon(abandoned, pid, about, error);
      throw current.explain(error);
    } finally {
      this.#inProgress--;
      current.sockets.unref();
    }
  }

  /** Whether no statement is in progress. */
  get idle(): boolean {
    return this.#inProgress === 0;
  }

  discard(): void {
    if (this.#current) this.#replace(this.#current, LAST_ANSWERS);
  }

  #open(): Opened {
    const opened = this.#source.open({ max: this.#connections, prepare: true }, () => {
      this.#replace(opened, opened.sockets.refusal ? 0 : LAST_ANSWERS); // a refused server sends no answers
    });
    return opened;
  }

  /** Opens new connections for the next statements; those in progress have `seconds` to be answered. */
  #replace(broken: Opened, seconds: number): void {
    if (this.#current !== broken) return;
    this.#current = undefined;
    const ending = endInstance(broken, seconds);
    this.#ending.add(ending);
    ending.then(() => this.#ending.delete(ending));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.discard();
    await Promise.all(this.#ending);
  }
}

/** Renewals: through the pool while it is idle, else through a connection of their own, where they wait for nothing. */
export class RenewalPool implements Client {
  readonly #pool: OwnPool;
  readonly #own: OwnPool;

  constructor(pool: OwnPool, own: OwnPool) {
    this.#pool = pool;
    this.#own = own;
  }

  get prepare(): boolean {
    return this.#own.prepare;
  }

  set prepare(prepare: boolean) {
    this.#own.prepare = prepare;
  }

  send(text: string, parameters?: (string | null)[], about?: About): Promise<SqlResult> {
    return (this.#pool.idle ? this.#pool : this.#own).send(text, parameters, about);
  }

  discard(): void {
    this.#own.discard();
  }

  close(): Promise<void> {
    return this.#own.close();
  }
}

/** A `sql` instance of the caller's. */
export class ExternalSql implements Client {
  prepare = false;
  readonly #sql: Instance;
  readonly #answerTimeout: number;
  readonly #abandoned: AbandonedConnections | undefined;
  readonly #inProgress = new InProgress();

  constructor(sql: Instance, answerTimeout = DEFAULT_ANSWER_TIMEOUT, abandoned?: AbandonedConnections) {
    this.#sql = sql;
    this.#answerTimeout = answerTimeout;
    this.#abandoned = abandoned;
  }

  async send(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    if (this.#abandoned?.any) await this.#abandoned.settled(about);
    let query: Query | undefined;
    let answer: SqlResult;
    try {
      const send = () => query = sendStatement(this.#sql, text, parameters, this.prepare && mayPrepare(this.#sql));
      answer = await answerWithin(this.#answerTimeout, this.#inProgress.run(SEND, send));
    } catch (error) {
      const pid = this.prepare ? processIdOf(query) : undefined; // a pooler's is not the server's
      if (pid) abandon(this.#abandoned, pid, about, error, query);
      throw error;
    }
    const rows = requirePrimary(rowsOf(answer)); // undoes the program's own transformations of names and values
    return rows === answer ? answer : Object.assign([...rows], { state: answer.state });
  }

  close(): Promise<void> {
    return this.#inProgress.close();
  }
}

/**
 * A function that sends a statement. It is waited for until the backend is closed, since what it has sent cannot be
 * cancelled.
 */
export class ExternalExecutor implements Client {
  prepare = false;
  readonly #sender: OutsideTransactions;
  readonly #inProgress = new InProgress();

  constructor(execute: PostgresExecutor) {
    const run = async (text: string, parameters: (string | null)[]) => rowsOf(await execute(text, parameters));
    this.#sender = new OutsideTransactions((text, parameters) =>
      this.#inProgress.run(SEND, () => run(text, parameters))
    );
  }

  send(text: string, parameters: (string | null)[] = []): Promise<SqlResult> {
    return this.#sender.send(text, parameters);
  }

  close(): Promise<void> {
    return this.#inProgress.close();
  }
}
