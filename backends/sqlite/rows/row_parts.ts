import type { Connection } from "../connection/connection.ts";
import type { Queue } from "../queue/queue.ts";
import type { Statements } from "./statements.ts";

/** What the requests to one table share. */
export interface RowParts {
  readonly connection: Connection;
  readonly sql: Statements;
  readonly queue: Queue;
}
