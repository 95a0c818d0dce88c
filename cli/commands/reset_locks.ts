import { listLocks, type LockRecord, resetLocks } from "../../mod.ts";
import { canAsk, question } from "../prompt.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { recordLine } from "../formats/record.ts";
import { counted } from "../formats/text.ts";

const WARNING = `This releases EVERY lock. Programs that rely on their locks will interfere with
each other: stop them first.`;

/** The locks to remove. */
function listOf(records: readonly LockRecord[], removed: string): string {
  if (records.length === 0) return "There are no locks to remove";
  const are = records.length === 1 ? "This lock" : `These ${counted(records.length, "lock")}`;
  return [`${are} ${removed}:`, "", ...records.map(recordLine), ""].join("\n");
}

/** `reset_locks`: releases everything. */
export const resetLocksCommand: CommandSpec = {
  name: "reset_locks",
  alias: "reset",
  summary: "release every lock there is",
  description: `Lists the locks and asks for YES, in capitals, on a terminal. In a pipe or a cron
job it needs --force.`,
  examples: [
    ["lockmgr reset_locks", "look, and then decide"],
    ["lockmgr reset_locks --force", "without being asked"],
  ],
  define: (command) => command.option("-f, --force", "do not ask"),
  async run({ open, output }, _operands, flags) {
    if (!flags.force && !canAsk()) {
      throw new UsageError(
        "Cannot ask whether to remove every lock: this is no terminal; want --force to do it without asking",
      );
    }
    const backend = await open();
    if (backend.mode === "session") await resetLocks({ backend }); // refuses, and says why
    const records = await listLocks({ backend });
    if (!flags.force) {
      output.message(`${output.paint.warning(WARNING)}\n\n${listOf(records, "would be removed")}`);
      if (await question("Type YES in capitals to remove them all: ") !== "YES") {
        output.result("Nothing was removed", { removed: 0, locks: [] });
        return EXIT.failed;
      }
    } else if (!output.json) {
      output.message(listOf(records, records.length === 1 ? "is removed now" : "are removed now"));
    }
    const removed = await resetLocks({ backend });
    output.result(`Removed ${counted(removed, "lock")}`, { removed, locks: records });
    return EXIT.done;
  },
};
