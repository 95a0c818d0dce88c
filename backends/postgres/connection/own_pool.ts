import { BackendError } from "../../../core/errors.ts";
import { isBroken, isFull, requirePrimary } from "../errors.ts";
import type { GuardedSource } from "./abandoned.ts";
import { type About, answerWithin, type Client, DEFAULT_ANSWER_TIMEOUT, SEND } from "./client.ts";
import { endInstance, type Opened, processIdOf, type Query, sendStatement, type SqlResult } from "./driver.ts";

/** Seconds for statements in progress when their connections are replaced, and when the backend is closed. */
const LAST_ANSWERS = 1;
const CLOSING = 0.15;

/** What else statements may be sent on. */
interface Others {
  /** A pool that is used while it is idle: what is sent on it then waits for nothing. */
  readonly idle?: OwnPool;
  /** What is used where the server allows no further connection. */
  readonly instead?: Pick<Client, "send">;
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
  readonly #others: Others;
  readonly #ending = new Set<Promise<void>>();
  #current: Opened | undefined;
  #closed = false;
  #inProgress = 0;

  constructor(
    source: GuardedSource,
    connections: number,
    answerTimeout = DEFAULT_ANSWER_TIMEOUT,
    others: Others = {},
  ) {
    this.#source = source;
    this.#connections = connections;
    this.#answerTimeout = answerTimeout;
    this.#others = others;
  }

  async send(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    if (this.#closed) throw new BackendError(`Cannot ${SEND}: the backend was disposed of`);
    const { idle, instead } = this.#others;
    if (idle && idle.#inProgress === 0) return await idle.send(text, parameters, about);
    const current = this.#current ??= this.#open();
    current.sockets.ref();
    this.#inProgress++;
    let query: Query | undefined;
    try {
      query = sendStatement(current.sql, text, parameters, this.prepare);
      return requirePrimary(await answerWithin(this.#answerTimeout, query, () => this.#replace(current, 0)));
    } catch (error) {
      if (instead && isFull(error)) return await instead.send(text, parameters, about);
      if (isBroken(error)) this.#replace(current, LAST_ANSWERS);
      const pid = this.prepare ? processIdOf(query) : undefined; // a pooler's is not the server's
      if (pid) this.#source.abandoned?.giveUp(pid, about, error);
      throw current.explain(error);
    } finally {
      this.#inProgress--;
      current.sockets.unref();
    }
  }

  discard(seconds: number = LAST_ANSWERS): void {
    if (this.#current) this.#replace(this.#current, seconds);
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
    this.discard(CLOSING);
    await Promise.all(this.#ending);
  }
}
