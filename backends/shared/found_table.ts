/**
 * Checks whether a database has a lock table, and the right one.
 *
 * @module
 */
import type { Diagnostic } from "../../core/backend.ts";
import { BackendError } from "../../core/errors.ts";
import { monotonic, sleep } from "../../core/util/runtime.ts";

/** How long an upgrade is tried while others use the table, and the pause in which they can (ms). */
const UPGRADE_FOR_MS = 10_000;
const UPGRADE_PAUSE_MS = 500;

/** Whether there is a table; `"old"` is one of an earlier version, which lacks the columns of queues. */
export type Found = "none" | "old" | "present";

/**
 * Judges a table by its columns.
 *
 * @param columns Those that every version has.
 * @param added Those that earlier versions lack.
 * @param defect What else is wrong with the table.
 * @throws {BackendError} When it has other columns, or the defect.
 */
export function judgeTable(
  table: string,
  present: readonly string[],
  columns: readonly string[],
  added: readonly string[],
  defect?: string,
): Found {
  const missingOf = (wanted: readonly string[]) => wanted.filter((column) => !present.includes(column));
  const isOld = missingOf(added).length === added.length;
  const missing = missingOf(isOld ? columns : [...columns, ...added]);
  const reason = missing.length > 0 ? `it has no column ${missing.join(", ")}` : defect;
  if (reason === undefined) return isOld ? "old" : "present";
  throw new BackendError(
    `Cannot use table ${JSON.stringify(table)}: ${reason}; want a table that lockmgr made, or another name`,
  );
}

/**
 * Upgrades a table, again after a pause while a transaction of another program uses it: every request for a lock waits
 * behind an upgrade that waits, so each try may wait for less than a second or so.
 *
 * @param isInUse Whether a try ended because of such a transaction.
 * @throws {BackendError} When the table stays in use.
 */
export async function upgradeTable(
  table: string,
  attempt: () => Promise<unknown>,
  isInUse: (error: unknown) => boolean,
): Promise<void> {
  const until = monotonic() + UPGRADE_FOR_MS;
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!isInUse(error)) throw error;
      if (monotonic() > until) {
        const reason = "another transaction uses it; want that to end, or an upgrade at another time";
        const message = `Cannot upgrade table ${JSON.stringify(table)}: ${reason}`;
        throw new BackendError(message, { cause: error, retryable: true });
      }
    }
    await sleep(UPGRADE_PAUSE_MS);
  }
}

/** Diagnoses the table that `find` looks for. */
export function tableDiagnostic(table: string, find: () => Found): Diagnostic {
  const what = "table";
  const name = JSON.stringify(table);
  try {
    const found = find();
    if (found === "present") return { what, state: "ok", detail: `${name} exists, with the columns it needs` };
    const use = found === "old"
      ? "is of an earlier version: the first use upgrades it"
      : "was not found: the first use creates it";
    return { what, state: "note", detail: `${name} ${use}, unless "migrate" is off` };
  } catch (error) {
    return { what, state: "problem", detail: (error as Error).message, advice: "Choose another one with --table" };
  }
}
