import { type Backend, type LockRecord, LockTimeout } from "../../mod.ts";
import { longestWait } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { CommandFailure } from "../failures.ts";
import { toJson } from "../formats/text.ts";
import { openWhileWaiting } from "../opening.ts";
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

/** Waits until the name is free; returns what is known of its holder if it is not. */
async function heldAfter(
  backend: Backend,
  name: string,
  wait: number,
  signal: AbortSignal,
): Promise<{ holder?: LockRecord } | undefined> {
  if (backend.mode === "session") return await untilAcquired(backend, name, wait, signal) ? undefined : {};
  const holder = await untilFree(backend, name, wait, signal);
  return holder && { holder };
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
  async run(context, [name], flags) {
    const { output, stopping } = context;
    const startedAt = performance.now();
    const passed = () => (performance.now() - startedAt) / 1e3;
    const longest: number = flags.wait ?? Infinity;
    const backend = await openWhileWaiting(context, flags.wait ?? 0);
    const waiting = announceWait(backend, name, output.message);
    try {
      const held = await heldAfter(backend, name, Math.max(longest - passed(), 0), stopping.signal);
      if (held) throw stillHeld(name, longest, held.holder);
    } finally {
      waiting[Symbol.dispose]();
    }
    const waited = Math.round(passed() * 1e3) / 1e3;
    output.result(`Lock ${toJson(name)} is free`, { name, free: true, waited });
    return EXIT.done;
  },
};
