import type { LockSetResult, LockSetStatus } from "../../mod.ts";
import { expiryOf } from "./record.ts";
import { table } from "./table.ts";
import { counted, visible } from "./text.ts";

const DONE = { create: "created", extend: "renewed", skip: "skipped" } as const;

const yesOrNo = (answer: boolean) => answer ? "yes" : "no";

/** What was done, name by name, and how much of what: the report that django-lockmgr gives. */
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
