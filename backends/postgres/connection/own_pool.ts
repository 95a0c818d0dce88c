import { BackendError } from "../../../core/errors.ts";
import { isBroken, requirePrimary } from "../errors.ts";
import type { About, GuardedSource } from "./abandoned.ts";
import { answerWithin, DEFAULT_ANSWER_TIMEOUT } from "./answer_timeout.ts";
import { abandon, type Client, SEND } from "./client.ts";
import { endInstance, type Opened, processIdOf, type Query, sendStatement, type SqlResult } from "./driver.ts";

/** Seconds for statements in progress when their connections are closed. */
const LAST_ANSWERS = 1;

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
