import { cleanLocks } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { counted } from "../formats/text.ts";

/** `clean`: deletes expired locks. */
export const clean: CommandSpec = {
  name: "clean",
  summary: "delete expired locks",
  description: `Expired locks are free without it. It shortens "list_locks --all" and deletes the
rows of names that were released more than a day ago: run it daily if your names
never repeat.`,
  examples: [["lockmgr clean", "says how many there were"]],
  async run({ open, output }) {
    const cleaned = await cleanLocks({ backend: await open() });
    output.result(`Cleared away ${counted(cleaned, "expired lock")}`, { cleaned });
    return EXIT.done;
  },
};
