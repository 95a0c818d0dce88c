import { InProgress } from "../../../core/util/in_progress.ts";
import { OutsideTransactions } from "./caller_transaction.ts";
import { type Client, SEND } from "./client.ts";
import type { PostgresExecutor, SqlResult } from "./driver.ts";
import { coded } from "./pg_driver.ts";
import { rowsOf } from "./row_shapes.ts";

/**
 * A function that sends a statement. It is waited for until the backend is closed, since what it has sent cannot be
 * cancelled.
 */
export class ExternalFunction implements Client {
  prepare = false;
  readonly #sender: OutsideTransactions;
  readonly #inProgress = new InProgress();

  constructor(execute: PostgresExecutor) {
    const run = async (text: string, parameters: (string | null)[]) => {
      try {
        return rowsOf(await execute(text, parameters));
      } catch (error) {
        throw coded(error); // it may be a function over node-postgres
      }
    };
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
