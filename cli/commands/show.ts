import { isLocked } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { details } from "../formats/details.ts";
import { visible } from "../formats/text.ts";
import { find } from "../looking.ts";

/** `show`: everything about one lock. */
export const show: CommandSpec = {
  name: "show",
  summary: "tell all about one lock",
  description: `Who holds it, since when, how long it has left, its fencing token, how it is kept,
and what was stored with it. One that is free is no failure; "lockmgr wait -w 0"
asks with an exit code.`,
  examples: [["lockmgr show deploy", "for people"], ["lockmgr show deploy --json", "the same for programs"]],
  define: (command) => command.argument("<name>", "name to look at"),
  async run({ open, output }, [name]) {
    const backend = await open();
    if (backend.mode === "session") {
      throw new UsageError(
        'Cannot show a lock in "session" mode: it has no row; "lockmgr wait -w 0" tells if it is held',
      );
    }
    await isLocked(name, { backend }); // refuses what cannot be a name
    const record = await find(backend, name, true);
    const locked = record !== undefined && !record.expired;
    const text = record ? details(record) : `Lock ${JSON.stringify(visible(name))} is not held`;
    output.result(text, { name, locked, lock: record ?? null });
    return EXIT.done;
  },
};
