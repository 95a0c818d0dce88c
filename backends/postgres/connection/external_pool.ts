import { InProgress, Unanswered } from "../../../core/util/in_progress.ts";
import type { GuardedSource } from "./abandoned.ts";
import { type About, answerWithin, type Client, SEND } from "./client.ts";
import type { SqlResult } from "./driver.ts";
import { OwnPool } from "./own_pool.ts";
import { binaryRefusal, coded, isInTransaction, type PgClient, type PgPool, sendOn } from "./pg_driver.ts";
import { isBroken, isNotPrimary, OpenTransaction, requirePrimary } from "../errors.ts";

/** A client that a pool lends. */
type Lent = PgClient & { release(destroy?: boolean): void };

const ignore = () => {};
/** Pools that are listened to. */
const listening = new WeakSet<PgPool>();

/**
 * A pool of node-postgres that is the caller's, which is never ended here. While all of its clients are in use a
 * connection of our own is used: one of them may be waiting for the very lock that is asked for.
 */
export class ExternalPool implements Client {
  prepare = false;
  readonly #pool: PgPool;
  readonly #source: GuardedSource;
  readonly #answerTimeout: number;
  readonly #own: OwnPool;
  readonly #inProgress = new InProgress();

  constructor(pool: PgPool, source: GuardedSource, answerTimeout: number) {
    this.#pool = pool;
    this.#source = source;
    this.#answerTimeout = answerTimeout;
    this.#own = new OwnPool(source, 1, answerTimeout, { instead: { send: (...statement) => this.#run(...statement) } });
    // an idle client whose connection breaks would end the process; those that were opened for locks outlive the backend
    if (!listening.has(pool)) pool.on("error", ignore);
    listening.add(pool);
  }

  async send(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    const { idleCount, waitingCount, totalCount, options } = this.#pool;
    if (idleCount <= waitingCount && totalCount >= Number(options.max)) {
      this.#own.prepare = this.prepare;
      return await this.#own.send(text, parameters, about);
    }
    return await this.#run(text, parameters, about);
  }

  /** Sends one statement on a client of the pool. */
  async #run(text: string, parameters: (string | null)[] = [], about: About = []): Promise<SqlResult> {
    const client = await this.#take();
    client.on("error", ignore);
    let useless = false;
    try {
      return await this.#wait(async () => {
        if (await isInTransaction(client)) throw new OpenTransaction();
        return requirePrimary(await sendOn(client, text, parameters));
      });
    } catch (error) { // not on the primary, the address may lead to another server by now
      useless = error instanceof Unanswered || isBroken(error) || isNotPrimary(error);
      if (this.prepare) this.#source.abandoned?.giveUp(String(client.processID), about, error);
      throw error;
    } finally {
      client.release(useless);
      if (!useless) client.removeListener("error", ignore);
    }
  }

  /** Takes a client out of the pool. */
  async #take(): Promise<Lent> {
    const taking = this.#pool.connect() as Promise<Lent>;
    try {
      const client = await this.#wait(() => taking);
      if (client.binary) throw binaryRefusal(); // by the defaults of the driver
      return client;
    } catch (error) {
      taking.then((late) => late.release(), ignore);
      throw coded(error);
    }
  }

  /** Waits for an answer until the answer timeout, or until the backend is closed. */
  #wait<T>(request: () => Promise<T>): Promise<T> {
    return answerWithin(this.#answerTimeout, this.#inProgress.run(SEND, request));
  }

  async close(): Promise<void> {
    await Promise.all([this.#inProgress.close(), this.#own.close()]);
  }
}
