import type { Command, OptionValues } from "commander";
import { Locked, LockTimeout } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { CommandFailure, UsageError } from "../failures.ts";
import { openWhileWaiting } from "../opening.ts";
import { commandAfterName, defineRun, requireCommand } from "../running/flags.ts";
import { runUnder, takeLock } from "../running/under_lock.ts";

/** `run`: runs a command while holding a lock. */
export const run: CommandSpec = {
  name: "run",
  summary: "run a command while holding a lock",
  description: `Waits until NAME is free unless -w or -n says otherwise, runs the command, and
releases the lock when the command has ended. The lease is renewed as long as
it runs. Signals are forwarded to the command and all that it has started, and
its exit code is the exit code here (128 and the number, if a signal ended it).
When the lock is lost, the command gets SIGTERM, and SIGKILL after the grace;
the exit code is then 3. The command finds the lock's name and fencing token in
LOCKMGR_NAME and LOCKMGR_TOKEN. Its input and output are those of this command.

Other exit codes: 2 (or -E) the lock is busy, 126 the command cannot be
executed, 127 there is no such command.`,
  examples: [
    ["lockmgr run nightly -n -- ./backup.sh /srv", "do nothing and exit with 2 if it is running already"],
    ["lockmgr run nightly -n -E 0 -- ./backup.sh", "the same for cron: not a word, and no failure"],
    [
      "lockmgr run nightly -n --hold-at-least 120 -- ./report.sh",
      "once a night on hosts whose clocks differ by up to 2 min",
    ],
    ["lockmgr run encode --limit 4 -- ./encode.sh", "at most four at a time, on all hosts together"],
    ["lockmgr run migrate -w 300 -- npm run migrate", "wait up to five minutes for another migration"],
    ["lockmgr run feed --shell -- 'fetch | load'", "a line for the shell"],
  ],
  passesOutput: true,
  onSignal: "ends itself",
  define: defineRun,
  operands: commandAfterName,
  async run(context, [name, ...words], flags) {
    requireCommand("run", words);
    if (flags.nonblock && flags.wait !== undefined) {
      throw new UsageError("Cannot use --nonblock with --wait: one waits, the other does not");
    }
    if (flags.shared && flags.limit !== undefined) {
      throw new UsageError("Cannot use --shared with --limit: want one of them");
    }
    context.stopping.listenForCommand();
    const startedAt = performance.now();
    const backend = await openWhileWaiting(context, flags.wait ?? 0);
    const wait = flags.nonblock ? 0 : Math.max((flags.wait ?? Infinity) - (performance.now() - startedAt) / 1e3, 0);
    const lock = await takeLock(context, backend, name, flags, wait).catch((error) => {
      const timedOut = error instanceof Locked && flags.wait > 0; // also where the opening took all of the wait
      const whole = timedOut ? new LockTimeout(name, flags.wait, error.holder) : error;
      throw busyAs(whole, context.command, flags);
    });
    return await runUnder(lock, words, flags, context);
  },
};

/** Gives "busy" the exit code of `-E`; with `-n` as well it prints nothing. */
function busyAs(error: unknown, command: Command, flags: OptionValues): unknown {
  const chosen = command.getOptionValueSource("conflictExitCode") === "cli";
  if (!(error instanceof Locked) || !chosen) return error;
  const expected = flags.nonblock === true;
  return new CommandFailure(flags.conflictExitCode, error.message, { cause: error, lock: error.holder, expected });
}
