import { type Backend, isLocked, type LockRecord, LockTimeout } from "../../mod.ts";
import { longestWait } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { CommandFailure } from "../failures.ts";
import { toJson } from "../formats/text.ts";
import { announceWait, untilAcquired, untilFree } from "../queries.ts";

/** The failure when the wait ends first. */
function stillHeld(name: string, longest: number, holder?: LockRecord): CommandFailure {
  const waited = longest === 0 ? "" : ` after ${longest} s`;
  const cause = new LockTimeout(name, longest, holder);
  return new CommandFailure(EXIT.busy, `Lock ${toJson(name)} is still held${waited}`, {
    cause,
    lock: holder,
  });
}

/** Waits until the name is free, or throws. */
async function waitFor(backend: Backend, name: string, longest: number, signal: AbortSignal): Promise<void> {
  if (backend.mode === "session") {
    if (!await untilAcquired(backend, name, longest, signal)) throw stillHeld(name, longest);
    return;
  }
  const holder = await untilFree(backend, name, longest, signal);
  if (holder) throw stillHeld(name, longest, holder);
}

/** `wait`: waits until a name is free. */
export const wait: CommandSpec = {
  name: "wait",
  summary: "wait until a lock is free",
  description: `Does not acquire the lock: another client may have it a moment later. To run a
command under the lock, use "lockmgr run". Exit code 2 when the lock is still held
after the time given.`,
  examples: [
    ["lockmgr wait migrate -w 60", "a minute at most"],
    ["lockmgr wait migrate -w 0", "do not wait: 0 when it is free, 2 when it is held"],
  ],
  define: (command) =>
    command
      .argument("<name>", "name to wait for")
      .addOption(longestWait()),
  onSignal: "gives back",
  async run({ open, output, stopping }, [name], flags) {
    const backend = await open();
    const startedAt = performance.now();
    const longest: number = flags.wait ?? Infinity;
    await isLocked(name, { backend }); // refuses what cannot be a name
    const waiting = announceWait(backend, name, output.message);
    try {
      await waitFor(backend, name, longest, stopping.signal);
    } finally {
      waiting[Symbol.dispose]();
    }
    const waited = Math.round(performance.now() - startedAt) / 1e3;
    output.result(`Lock ${toJson(name)} is free`, { name, free: true, waited });
    return EXIT.done;
  },
};
