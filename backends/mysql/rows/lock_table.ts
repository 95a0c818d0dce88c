import { BackendError } from "../../../core/errors.ts";
import { chunks } from "./chunks.ts";
import type { Connection } from "../connection/connection.ts";
import type { Connector } from "../connection/connector.ts";
import type { Answer } from "../connection/driver.ts";
import { isConflict, isMissingTable } from "../errors.ts";
import { Executor, type Send } from "../connection/executor.ts";
import { type OwnedRow, toOwnedRow } from "./rows.ts";
import { columnsOf, hasTable, lockSchema } from "../schema.ts";
import type { Server } from "../connection/server.ts";
import { type Statements, statementsFor } from "./statements.ts";

/** The table on its server: made when it is first needed, and asked one statement at a time. */
export class LockTable {
  /** Its statements. */
  sql: Statements;
  readonly #connector: Connector;
  readonly #executor: Executor;
  readonly #mode: "lease" | "hybrid";
  #prepared: Promise<Server> | undefined;

  constructor(connector: Connector, mode: "lease" | "hybrid") {
    this.sql = statementsFor(connector.target.options.table, mode === "hybrid");
    this.#connector = connector;
    this.#executor = new Executor(connector, () => {
      this.#prepared = undefined; // what was learned of the server is learned again
      connector.doubt();
    });
    this.#mode = mode;
  }

  /** Makes sure of the server and the table, once, and again after a failure. */
  ready(what: string): Promise<Server> {
    if (this.#prepared === undefined) {
      const attempt = this.#prepared = this.#prepare(what);
      attempt.catch(() => {
        if (this.#prepared === attempt) this.#prepared = undefined;
      });
    }
    return this.#prepared;
  }

  /** One statement; `repeats` says after which errors it is tried again. */
  async run(what: string, sql: string, repeats: (error: unknown) => boolean = isConflict): Promise<Answer> {
    return await this.#executor.run(what, sql, repeats).catch((error) => this.#failed(error));
  }

  /** The same for renewals, which must not wait for other requests: where all connections are in use it has its own. */
  async renew(what: string, sql: string, repeats: (error: unknown) => boolean = isConflict): Promise<Answer> {
    return await this.#executor.run(what, sql, repeats, true).catch((error) => this.#failed(error));
  }

  /** Several statements as one transaction; `work` answers whether to keep what they did, and the result. */
  async transaction<T>(
    what: string,
    work: (send: Send) => Promise<{ keep: boolean; result: T }>,
    repeats: (error: unknown) => boolean = isConflict,
  ): Promise<T> {
    return await this.#executor.transaction(what, work, repeats).catch((error) => this.#failed(error));
  }

  /** Waits so many milliseconds before a further try; ends with the backend. */
  pause(what: string, milliseconds: number): Promise<void> {
    return this.#connector.pause(what, milliseconds);
  }

  /** Gives up the connections there are. */
  discard(): void {
    this.#executor.discard();
  }

  /** Lends a connection of our own for as long as `work` takes; none of a caller's pool. */
  borrow(what: string, work: (connection: Connection) => Promise<void>): Promise<void> {
    return this.#executor.borrow(what, work);
  }

  /** The live row of a name. */
  async peek(what: string, name: string): Promise<OwnedRow | undefined> {
    return (await this.peekAll(what, [name]))[0];
  }

  /** The live rows of names. */
  async peekAll(what: string, names: readonly string[]): Promise<OwnedRow[]> {
    return await this.#rowsOf(what, names, (some) => this.sql.peek(some));
  }

  /** The same, also where the server is a replica. */
  async listAll(what: string, names: readonly string[]): Promise<OwnedRow[]> {
    return await this.#rowsOf(what, names, (some) => this.sql.listNames(some));
  }

  async #rowsOf(what: string, names: readonly string[], sql: (some: string[]) => string): Promise<OwnedRow[]> {
    const answers = await Promise.all(chunks(names).map((some) => this.run(what, sql(some))));
    return answers.flatMap(({ rows }) => rows.map(toOwnedRow));
  }

  /** Ends the connections that were opened for it. */
  close(): void {
    this.#executor.close();
  }

  async #prepare(what: string): Promise<Server> {
    const { table, migrate } = this.#connector.target.options;
    const server = await this.#executor.inspect(what);
    this.#connector.require(server, this.#mode);
    this.sql = statementsFor(table, this.#mode === "hybrid", !server.logsStatements);
    const { rows } = await this.#executor.run(what, columnsOf(table));
    if (hasTable(table, rows)) return server;
    if (!migrate) {
      throw new BackendError(
        `Cannot ${what}: table ${JSON.stringify(table)} does not exist or may not be used, and "migrate" is off`,
      );
    }
    await this.#executor.run(what, lockSchema(table));
    return server;
  }

  /** A table that somebody dropped is made again by the next call. */
  #failed(error: unknown): never {
    if (error instanceof BackendError && isMissingTable(error.cause)) this.#prepared = undefined;
    throw error;
  }
}
