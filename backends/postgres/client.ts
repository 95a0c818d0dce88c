/**
 * The three kinds of clients that statements of leases go through: connections of our own, a `sql` instance that the
 * program has anyway, and any function that sends a statement.
 *
 * @module
 */
import { BackendError } from "../../core/errors.ts";
import { startTimer } from "../../core/runtime.ts";
import { AnswerWatch, lateAnswer } from "./answer_watch.ts";
import { OutsideTransactions } from "./caller_transaction.ts";
import type { Instance, Opened, PostgresExecutor, Source, SqlResult } from "./driver.ts";
import { isBroken, requirePrimary } from "./errors.ts";
import { written } from "./literals.ts";
import { rowsOf } from "./row_shapes.ts";

/** Sends statements. */
export interface Client {
  /** Whether statements may be prepared on the server: not before it is known that no proxy is in between. */
  prepare: boolean;
  /** Sends one statement with text parameters. */
  send(text: string, parameters?: (string | null)[]): Promise<SqlResult>;
  /** Gives up the connections there are, where they are our own: what they lead to may not be the primary. */
  discard?(): void;
  /** Closes what was opened here. */
  close(): Promise<void>;
}

/** Seconds to wait for an answer: longer than any statement of ours may take (5 s for a row that is locked). */
const ANSWER_TIMEOUT = 15;
/** Seconds that statements still on their way have when their connections are to be closed. */
const LAST_ANSWERS = 1;

/** Sends a statement through an instance, unprepared if possible in one round trip. */
function ask(sql: Instance, text: string, parameters: (string | null)[], prepare: boolean): PromiseLike<SqlResult> {
  const whole = prepare ? undefined : written(text, parameters);
  const [statement, values] = whole === undefined ? [text, parameters] : [whole, []];
  return sql.unsafe(statement, values, { prepare, simple: false });
}

/** Rejects when no answer came in time; `late` is called then. */
export async function inTime<T>(answer: PromiseLike<T>, seconds: number, late: () => void): Promise<T> {
  let stop: (() => void) | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    const timer = startTimer(seconds * 1e3, () => {
      reject(lateAnswer(seconds));
      late();
    }, true);
    stop = () => timer.stop();
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
export class Pool implements Client {
  prepare = false;
  readonly #source: Source;
  readonly #max: number;
  #current: Opened | undefined;
  readonly #ending = new Set<Promise<void>>();
  readonly #watch = new AnswerWatch(ANSWER_TIMEOUT);
  #closed = false;

  constructor(source: Source, max: number) {
    this.#source = source;
    this.#max = max;
  }

  async send(text: string, parameters: (string | null)[] = []): Promise<SqlResult> {
    if (this.#closed) throw new BackendError("Cannot send a statement: the backend was disposed of");
    const current = this.#current ??= this.#open();
    current.sockets.ref();
    try {
      const answer = ask(current.sql, text, parameters, this.prepare);
      return requirePrimary(await this.#watch.over(answer, () => this.#replace(current, 0)));
    } catch (error) {
      if (isBroken(error)) this.#replace(current, LAST_ANSWERS);
      throw current.explain(error);
    } finally {
      current.sockets.unref();
    }
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
export class Borrowed implements Client {
  prepare = false;
  readonly #sql: Instance;

  constructor(sql: Instance) {
    this.#sql = sql;
  }

  async send(text: string, parameters: (string | null)[] = []): Promise<SqlResult> {
    const prepare = this.prepare && this.#sql.options.prepare !== false;
    const answer = await inTime(ask(this.#sql, text, parameters, prepare), ANSWER_TIMEOUT, () => {});
    const rows = requirePrimary(rowsOf(answer)); // the program's own transformations of names and values are undone
    return rows === answer ? answer : Object.assign([...rows], { state: answer.state });
  }

  async close(): Promise<void> {}
}

/** Any function that sends a statement. */
export class Executing implements Client {
  prepare = false;
  readonly #sending: OutsideTransactions;

  constructor(execute: PostgresExecutor) {
    this.#sending = new OutsideTransactions(async (text, parameters) => {
      return rowsOf(await inTime(execute(text, parameters), ANSWER_TIMEOUT, () => {}));
    });
  }

  async send(text: string, parameters: (string | null)[] = []): Promise<SqlResult> {
    return await this.#sending.send(text, parameters);
  }

  async close(): Promise<void> {}
}
