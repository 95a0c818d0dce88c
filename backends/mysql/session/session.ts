import { monotonic } from "../../../core/util/runtime.ts";
import { Session } from "../../sessions/session.ts";
import type { Connection } from "../connection/connection.ts";
import type { Connector } from "../connection/connector.ts";
import type { Answer } from "../connection/row_shapes.ts";
import { READ_ONLY } from "../connection/server.ts";
import { endsConnection, notPrimary, otherServer } from "../errors.ts";

/** A dedicated connection to MySQL or MariaDB. */
export class MysqlSession extends Session {
  readonly #connection: Connection;
  /** A statement whose commit waits for a replica. */
  #confirmation: string | undefined;

  /**
   * @param connection One that has just answered.
   * @param timeout After how many seconds of silence the server ends it.
   */
  constructor(connector: Connector, connection: Connection, timeout: number) {
    super(String(connection.id), timeout, monotonic());
    this.#connection = connection;
    const stop = connector.onDoubt(() => this.heartbeat());
    connection.onEnd(() => {
      stop();
      this.end(connection.ended!);
    });
  }

  /** Opens one that the server ends after `sessionTimeout` of silence. */
  static async open(connector: Connector, what: string): Promise<MysqlSession> {
    const { sessionTimeout } = connector.target.options;
    return new MysqlSession(connector, await connector.connect(what, sessionTimeout), sessionTimeout);
  }

  /** Sends one statement that never waits for a lock. */
  query(sql: string): Promise<Answer> {
    return this.exchange(() => this.#connection.query(sql));
  }

  /** Sends a SELECT without FROM, and ends the session where the server takes no writes: the primary grants the same locks. */
  queryPrimary(select: string): Promise<Answer> {
    return this.exchange(async () => {
      const answer = await this.#connection.query(`${select}, ${READ_ONLY} AS read_only`);
      if (answer.rows[0].at(-1) !== "0") throw notPrimary();
      return answer;
    });
  }

  /**
   * Has every heartbeat commit a statement: an old primary that its replicas have left still answers, and only its commits
   * show that none was promoted before the heartbeat was sent.
   */
  confirmBy(statement: string): void {
    this.#confirmation = statement;
  }

  protected ping(): Promise<unknown> {
    const { marker } = this.#connection;
    const isSame = marker ? `IFNULL(IS_USED_LOCK('${marker}') = CONNECTION_ID(), 0)` : "1";
    return this.exchange(async () => {
      const { rows: [[readOnly, same]] } = await this.#connection.query(
        `SELECT ${READ_ONLY}, ${isSame}`,
        this.giveUpAfter,
      );
      if (readOnly !== "0") throw notPrimary();
      if (same !== "1") throw otherServer(); // a proxy has gone on with another one
      if (this.#confirmation) await this.#connection.query(this.#confirmation, this.giveUpAfter);
    });
  }

  protected isFatal(error: unknown): boolean {
    return endsConnection(error);
  }

  protected disconnect(reason: Error, orderly: boolean): Promise<void> {
    this.#connection.end(reason, orderly);
    return Promise.resolve();
  }
}
