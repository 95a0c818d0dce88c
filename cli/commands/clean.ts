import { cleanLocks } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { counted } from "../formats/text.ts";

/** `clean`: clears away what has expired. */
export const clean: CommandSpec = {
  name: "clean",
  summary: "clear away locks that have expired",
  description: `Nothing needs it: an expired lock is free. It tidies what "list_locks --all" shows.`,
  examples: [["lockmgr clean", "says how many there were"]],
  define: (command) => command,
  async run({ open, output }) {
    const cleaned = await cleanLocks({ backend: await open() });
    output.result(`Cleared away ${counted(cleaned, "expired lock")}`, { cleaned });
    return EXIT.done;
  },
};
