import { type Backend, listLocks, type LockRecord } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { recordLine } from "../formats/record.ts";
import { counted, toJson } from "../formats/text.ts";

/** Locks, and whether each is held: a session may end before its lock expires. */
interface Listed {
  readonly records: readonly LockRecord[];
  readonly isHeld: (record: LockRecord) => boolean;
}

async function look(backend: Backend, prefix: string | undefined, all: boolean): Promise<Listed> {
  const records = await listLocks({ backend, prefix, includeExpired: all });
  if (!all) return { records, isHeld: () => true };
  const live = new Set((await listLocks({ backend, prefix })).map(({ token, name }) => `${token} ${name}`));
  return { records, isHeld: ({ token, name }) => live.has(`${token} ${name}`) };
}

/** How many there are, and a line for each. */
function listOf({ records, isHeld }: Listed, prefix: string | undefined): string {
  const active = records.filter(isHeld).length;
  const expired = records.length - active;
  const which = prefix === undefined ? "" : ` whose name begins with ${toJson(prefix)}`;
  const also = expired > 0 ? `, and ${counted(expired, "expired lock")}` : "";
  const count = `There ${active === 1 ? "is" : "are"} currently ${counted(active, "active lock")}${which}${also}`;
  const lines = records.map((record) => {
    return recordLine(record) + (record.expired || isHeld(record) ? "" : " (its session has ended)");
  });
  return records.length === 0 ? count : [`${count}:`, "", ...lines].join("\n");
}

/** `list_locks`: lists the locks that are held. */
export const listLocksCommand: CommandSpec = {
  name: "list_locks",
  alias: "list",
  summary: "list the locks that are held",
  description: "Expired locks are free, and shown only with --all.",
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
    const listed = await look(backend, flags.prefix, flags.all === true);
    output.result(listOf(listed, flags.prefix), listed.records);
    if (backend.mode === "session") {
      output.message(`In "session" mode there is no list of names: use "lockmgr show NAME"`);
    }
    return EXIT.done;
  },
};
