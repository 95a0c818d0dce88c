import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import type { LockedRows } from "./locked_rows.ts";
import type { NameHints } from "./name_hints.ts";
import type { UnknownRequests } from "./unknown_requests.ts";

/** What the requests to one table share. */
export interface RowParts {
  readonly table: LockTable;
  readonly hints: NameHints;
  readonly lockedRows: LockedRows;
  readonly queue: Queue;
  readonly unknown: UnknownRequests;
}
