import { LockLost } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { openWhileWaiting } from "../opening.ts";
import { commandAfterName, defineLead, LEADER_LEASE, requireCommand } from "../running/flags.ts";
import { runUnder, takeLock } from "../running/under_lock.ts";

/** `lead`: runs a command for as long as this host is the leader. */
export const lead: CommandSpec = {
  name: "lead",
  summary: "run a command as long as this host is the leader",
  description: `Waits until NAME is free, and runs the command as its holder: the leader. When
the lock is lost, the command gets SIGTERM, and SIGKILL after the grace; then
this program waits for NAME again, and starts the command again once it has it.
It ends when the command ends by itself or a signal comes, which is forwarded to
the command; the next host is then the leader at once. The exit code is the
command's (128 and the number, if a signal ended it). The command finds the
lock's name and fencing token in LOCKMGR_NAME and LOCKMGR_TOKEN.

Other exit codes: 126 the command cannot be executed, 127 there is no such
command.`,
  examples: [
    ["lockmgr lead scheduler -- ./scheduler", "one scheduler on all hosts that run this line"],
    ["lockmgr --mode hybrid lead scheduler -- ./scheduler", "on a server: the next is elected as soon as one dies"],
  ],
  passesOutput: true,
  onSignal: "ends itself",
  define: defineLead,
  operands: commandAfterName,
  async run(context, [name, ...words], flags) {
    requireCommand("lead", words);
    context.stopping.listenForCommand();
    const backend = await openWhileWaiting(context, Infinity);
    for (;;) {
      const lock = await takeLock(context, backend, name, flags, Infinity, LEADER_LEASE);
      try {
        return await runUnder(lock, words, flags, context);
      } catch (error) {
        if (!(error instanceof LockLost) || context.stopping.by !== undefined) throw error;
        context.output.message(`lockmgr: ${error.message}: waiting to lead again`);
      }
    }
  },
};
