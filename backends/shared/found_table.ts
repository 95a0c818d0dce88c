/**
 * Checks whether a database has a lock table, and the right one.
 *
 * @module
 */
import type { Diagnostic } from "../../core/backend.ts";
import { BackendError } from "../../core/errors.ts";

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
    return { what, state: "note", detail: `${name} ${use}` };
  } catch (error) {
    return { what, state: "problem", detail: (error as Error).message, advice: "Choose another one with --table" };
  }
}
