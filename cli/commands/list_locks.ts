import { listLocks, type LockRecord } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { recordLine } from "../formats/record.ts";
import { counted } from "../formats/text.ts";

/** How many there are, and a line for each. */
function listOf(records: readonly LockRecord[], prefix: string | undefined): string {
  const expired = records.filter((record) => record.expired).length;
  const active = records.length - expired;
  const which = prefix === undefined ? "" : ` whose name begins with ${JSON.stringify(prefix)}`;
  const also = expired > 0 ? `, and ${counted(expired, "expired lock")}` : "";
  const count = `There ${active === 1 ? "is" : "are"} currently ${counted(active, "active lock")}${which}${also}`;
  return records.length === 0 ? count : [`${count}:`, "", ...records.map(recordLine)].join("\n");
}

/** `list_locks`: what is held, by whom, until when. */
export const listLocksCommand: CommandSpec = {
  name: "list_locks",
  alias: "list",
  summary: "show what is held, by whom, until when",
  description: "Looking changes nothing. Locks that have expired are free, and shown only with --all.",
  examples: [
    ["lockmgr list_locks", "one line for each lock"],
    ["lockmgr list_locks --prefix db: --json", "an array of those whose name begins with db:"],
  ],
  define: (command) =>
    command
      .option("--prefix <text>", "only names that begin with this text")
      .option("--all", "also locks that have expired and were not cleaned away"),
  async run({ open, output }, _operands, flags) {
    const backend = await open();
    const records = await listLocks({ backend, prefix: flags.prefix, includeExpired: flags.all === true });
    output.result(listOf(records, flags.prefix), records);
    if (backend.mode === "session") {
      output.message('In "session" mode only the locks of one\'s own connection can be listed: here, none');
    }
    return EXIT.done;
  },
};
