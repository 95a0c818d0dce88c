import type { LockSetResult, LockSetStatus } from "../../mod.ts";
import { expiryOf } from "./record.ts";
import { counted, fitted, visible, widthOf } from "./text.ts";

const DONE = { create: "created", extend: "renewed", skip: "skipped" } as const;

const yesOrNo = (answer: boolean) => answer ? "yes" : "no";

/** The outcome of each name, and counts, as django-lockmgr reports them. */
export function setReport(result: LockSetResult): string {
  const { created, renewed, skipRenew, skipCreate } = result.counts;
  const row = ([name, { wasLocked, locked, status }]: [string, LockSetStatus]) => {
    return [visible(name), yesOrNo(wasLocked), yesOrNo(locked), DONE[status]];
  };
  const expiries = result.locks.map((lock) => `  ${visible(lock.name)}: until ${expiryOf(lock)}`);
  return [
    "Per lock:",
    "",
    table(["Name", "Was Locked?", "Now Locked?", "Status"], result.statuses.map(row)),
    "",
    "Summary:",
    "",
    `  Created:           ${created}`,
    `  Renewed:           ${renewed}`,
    `  Renewals skipped:  ${skipRenew}`,
    `  Creations skipped: ${skipCreate}`,
    ...(expiries.length > 0 ? ["", "Held:", "", ...expiries] : []),
    "",
    `Finished creating and renewing: ${counted(created + renewed, "lock")} of ${result.statuses.length}`,
  ].join("\n");
}

/** Rows under headings, each column as wide as its widest cell; a rule beneath the headings. */
function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(row[column])))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => fitted(cell, widths[column])).join("  ").trimEnd();
  return [line(headings), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)].join("\n");
}
