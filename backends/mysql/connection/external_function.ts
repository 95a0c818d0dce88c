import { InProgress } from "../../../core/util/in_progress.ts";
import { once } from "../../../core/util/once.ts";
import { driverErrorIn } from "../errors.ts";
import { hasOpenTransaction } from "./caller_transaction.ts";
import type { MysqlFunction } from "./driver.ts";
import type { ConnectionPool, Send } from "./own_pool.ts";
import { type Answer, answerOf } from "./row_shapes.ts";
import type { Server } from "./server.ts";
import { requireAutocommit, requireDefaults, requireSettings } from "./settings.ts";

/** Statements that are answered with rows. */
const READS = /^\s*(SELECT|SHOW)\b/;

/**
 * A function of the caller's. It is waited for until the backend is closed, since what it has sent cannot be cancelled.
 * Each statement may take another connection, so nothing is sent that relies on an earlier one.
 */
export class ExternalFunction implements ConnectionPool {
  readonly hasRoom = true; // a function does not show its connections
  readonly #execute: MysqlFunction;
  readonly #server = once(async (what: string, ask: Send): Promise<Server> => {
    await requireDefaults(what, ask);
    return await requireSettings(what, ask);
  });
  readonly #inProgress = new InProgress();

  constructor(execute: MysqlFunction) {
    this.#execute = execute;
  }

  /** @throws {UnsupportedError} When a transaction of the caller's is open where the function sends to. */
  async use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    const execute = (sql: string) => this.#run(what, sql);
    const ask: Send = async (sql) => answerOf(what, await execute(sql), !READS.test(sql));
    return await work(async (sql): Promise<Answer> => {
      const server = await this.#server(what, ask);
      requireAutocommit(what, { inTransaction: await hasOpenTransaction(server, execute), autocommit: true });
      return await ask(sql);
    });
  }

  async #run(what: string, sql: string): Promise<unknown> {
    try {
      return await this.#inProgress.run(what, async () => await this.#execute(sql, []));
    } catch (error) {
      throw driverErrorIn(error) ?? error;
    }
  }

  /** The next statement may be answered by another server. */
  discard(): number {
    this.#server.clear();
    return 0;
  }

  close(): Promise<void> {
    return this.#inProgress.close();
  }
}
