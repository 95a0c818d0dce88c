import { InProgress } from "../../../core/util/in_progress.ts";
import { requirePrimary } from "../errors.ts";
import type { AbandonedConnections } from "./abandoned.ts";
import { type About, answerWithin, type Client, DEFAULT_ANSWER_TIMEOUT, SEND } from "./client.ts";
import { type Instance, mayPrepare, processIdOf, type Query, sendStatement, type SqlResult } from "./driver.ts";
import { rowsOf } from "./row_shapes.ts";

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
    let query: Query | undefined;
    let answer: SqlResult;
    try {
      const send = () => query = sendStatement(this.#sql, text, parameters, this.prepare && mayPrepare(this.#sql));
      answer = await answerWithin(this.#answerTimeout, this.#inProgress.run(SEND, send));
    } catch (error) {
      const pid = this.prepare ? processIdOf(query) : undefined; // a pooler's is not the server's
      if (pid) this.#abandoned?.giveUp(pid, about, error, query, text);
      throw error;
    }
    const rows = requirePrimary(rowsOf(answer)); // undoes the program's own transformations of names and values
    return rows === answer ? answer : Object.assign([...rows], { state: answer.state });
  }

  close(): Promise<void> {
    return this.#inProgress.close();
  }
}
