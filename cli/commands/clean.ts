import { cleanLocks } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { counted } from "../formats/text.ts";

/** `clean`: clears away what has expired. */
export const clean: CommandSpec = {
  name: "clean",
  summary: "clear away locks that have expired",
  description: `An expired lock is free without it. It tidies what "list_locks --all" shows, and
deletes the rows of names that were released more than a day ago: run it daily
if your names never repeat.`,
  examples: [["lockmgr clean", "says how many there were"]],
  define: (command) => command,
  async run({ open, output }) {
    const cleaned = await cleanLocks({ backend: await open() });
    output.result(`Cleared away ${counted(cleaned, "expired lock")}`, { cleaned });
    return EXIT.done;
  },
};
