import { unlock } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { toJson } from "../formats/text.ts";

/** `clear_lock`: releases by force. */
export const clearLock: CommandSpec = {
  name: "clear_lock",
  alias: "clear",
  summary: "release locks by force",
  description: `For a lock whose holder will not release it. A holder that is still running loses
the lock: stop it first if you can.`,
  examples: [["lockmgr clear_lock hello world", "says of each whether it was removed or was not held"]],
  define: (command) => command.argument("<names...>", "names to release"),
  async run({ open, output }, names) {
    const backend = await open();
    const cleared: { name: string; removed: boolean }[] = [];
    for (const name of new Set(names)) cleared.push({ name, removed: await unlock(name, { backend }) });
    const lines = cleared.map(({ name, removed }) => {
      return `Lock ${toJson(name)} ${removed ? "has been removed" : "was not held"}`;
    });
    output.result(lines.join("\n"), cleared);
    return EXIT.done;
  },
};
