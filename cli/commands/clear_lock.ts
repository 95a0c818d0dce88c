import { unlock } from "../../mod.ts";
import { fencingToken } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { toJson } from "../formats/text.ts";

/** `clear_lock`: releases by force. */
export const clearLock: CommandSpec = {
  name: "clear_lock",
  alias: "clear",
  summary: "release locks by force",
  description: `For a lock whose holder will not release it. A holder that is still running loses
the lock: stop it first if you can. With --token the next holder keeps it, should
the name have changed hands since you looked.`,
  examples: [
    ["lockmgr clear_lock hello world", "says of each whether it was removed or was not held"],
    ["lockmgr clear_lock hello --token 7", 'releases the acquisition that "lockmgr show hello" showed'],
  ],
  define: (command) =>
    command
      .argument("<names...>", "names to release")
      .option("--token <token>", "release it only if this is still its fencing token", fencingToken),
  async run({ open, output }, names, { token }: { token?: bigint }) {
    const unique = [...new Set(names)];
    if (token !== undefined && unique.length > 1) {
      throw new UsageError("Cannot use --token with several names: each has tokens of its own");
    }
    const backend = await open();
    const cleared: { name: string; removed: boolean }[] = [];
    for (const name of unique) {
      const removed = await unlock(token === undefined ? name : { name, token }, { backend });
      cleared.push({ name, removed });
    }
    const which = token === undefined ? "" : ` with token ${token}`;
    const lines = cleared.map(({ name, removed }) => {
      return `Lock ${toJson(name)}${which} ${removed ? "has been removed" : "was not held"}`;
    });
    output.result(lines.join("\n"), cleared);
    return EXIT.done;
  },
};
