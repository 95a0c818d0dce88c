import { type Backend, BackendError, isLocked, type LockActivity } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { details } from "../formats/details.ts";
import { find } from "../queries.ts";
import type { Output } from "../output.ts";

/** The holder's and the waiters' connections, as far as the server lists them; a failure is only reported. */
async function observed(backend: Backend, name: string, output: Output): Promise<LockActivity | undefined> {
  try {
    return (await backend.observe?.([name]))?.[0];
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    output.message(`lockmgr: ${error.message}`);
  }
}

/** `show`: everything about one lock. */
export const show: CommandSpec = {
  name: "show",
  summary: "show everything about one lock",
  description: `Its holder, since when, the time left, its fencing token, its mode, its metadata,
and as far as the server lists them, the sessions and addresses of the holder and
of the waiters. A free lock is no failure; "lockmgr wait -w 0" asks with an exit
code.`,
  examples: [["lockmgr show deploy", "for people"], ["lockmgr show deploy --json", "the same for programs"]],
  define: (command) => command.argument("<name>", "name to look at"),
  async run({ open, output }, [name]) {
    const backend = await open();
    const locked = await isLocked(name, { backend }); // refuses what cannot be a name
    const record = backend.mode === "session" ? undefined : await find(backend, name, true);
    const seen = await observed(backend, name, output);
    output.result(details({ name, locked, record, seen }), { name, locked, lock: record ?? null, ...rest(seen) });
    return EXIT.done;
  },
};

/** What the server knows, as it stands in the document: nothing where it does not. */
function rest(seen: LockActivity | undefined): Partial<Omit<LockActivity, "name">> {
  if (seen === undefined) return {};
  const { name: _name, ...known } = seen;
  return known;
}
