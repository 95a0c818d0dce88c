import { type Backend, BackendError, isLocked, listLocks, type LockActivity } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { details, type Known } from "../formats/details.ts";
import type { Output } from "../output.ts";

/** The holders' and the waiters' connections, as far as the server lists them; a failure is only reported. */
async function observed(
  backend: Backend,
  names: readonly string[],
  output: Output,
): Promise<readonly LockActivity[] | undefined> {
  try {
    return await backend.observe?.(names);
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    output.message(`lockmgr: ${error.message}`);
  }
}

/** `show`: everything about some locks. */
export const show: CommandSpec = {
  name: "show",
  summary: "show everything about locks",
  description: `Each holder, since when, the time left, the fencing token, the mode, the metadata,
and as far as the server lists them, the sessions and addresses of the holder and
of the waiters. A free lock is no failure; "lockmgr wait -w 0" asks with an exit
code.`,
  examples: [
    ["lockmgr show deploy", "for people"],
    ["lockmgr show deploy nightly --json", "for programs: an array, as there are several names"],
  ],
  define: (command) => command.argument("<names...>", "names to look at"),
  async run({ open, output }, names) {
    const backend = await open();
    const unique = [...new Set(names)];
    const locks = [];
    for (const name of unique) {
      const locked = await isLocked(name, { backend }); // refuses what cannot be a name
      const rows = backend.mode === "session"
        ? []
        : await listLocks({ backend, names: [name], includeExpired: !locked });
      locks.push({ name, locked, records: locked ? rows : rows.slice(0, 1) });
    }
    const activity = await observed(backend, unique, output);
    const known = locks.map((lock, index) => ({ ...lock, seen: activity?.[index] }));
    const documents = known.map(documentOf);
    output.result(known.map(details).join("\n\n"), documents.length === 1 ? documents[0] : documents);
    return EXIT.done;
  },
};

/** A lock as JSON shows it; what the server does not know is left out. */
function documentOf({ name, locked, records, seen }: Known): object {
  return { name, locked, lock: records[0] ?? null, locks: records, holders: seen?.holders, waiters: seen?.waiters };
}
