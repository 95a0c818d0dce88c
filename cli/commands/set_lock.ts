import { Option } from "commander";
import { setLock } from "../../mod.ts";
import { lockedBy, seconds, wholeNumber } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { setReport } from "../formats/set_report.ts";
import { giveBack, openToStay } from "../opening.ts";

/** A flag that begins with `no-` and stands for itself: the parser would have `--timeout` after it take it back. */
function plainFlag(flags: string, description: string): Option {
  return Object.assign(new Option(flags, description), { negate: false });
}

/** `set_lock`: creates the locks that are free and renews those that are held. */
export const setLockCommand: CommandSpec = {
  name: "set_lock",
  alias: "set",
  summary: "create locks, and renew those that are held already",
  description: `Free names are locked, held names are renewed, those of other holders too.
A lock stays after this command has ended, until it expires or
"lockmgr clear_lock" releases it. To hold one only while a command runs, use
"lockmgr run".`,
  examples: [
    ["lockmgr set_lock hello world", "two locks for ten minutes"],
    ["lockmgr set_lock --fail -t 3600 db:a db:b", "both for an hour, or neither: exit code 2 when one is held"],
    ["lockmgr set_lock --only-renew -t 60 hello", "a minute from now, if it is held; never less than it has"],
  ],
  define: (command) =>
    command
      .argument("<names...>", "names to lock")
      .addOption(plainFlag("-n, --no-renew", "leave locks that are held as they are"))
      .option("-r, --only-renew", "renew what is held, create nothing")
      .addOption(plainFlag("-k, --no-timeout", "the locks never expire: they must be released (--timeout is ignored)"))
      .addOption(
        new Option("-t, --timeout <seconds>", "time until the locks expire; 0 is never").argParser(seconds).default(
          600,
        ),
      )
      .option("-e, --fail", "change nothing and exit with code 2 if any of the names is held")
      .addOption(lockedBy())
      .addOption(
        new Option("--pid, --process-id <number>", "process id of the holder, for people").argParser(wholeNumber),
      ),
  onSignal: "gives back",
  async run({ open, output, stopping }, names, flags) {
    const renew = flags.noRenew !== true;
    const create = flags.onlyRenew !== true;
    if (!renew && !create) throw new UsageError("Cannot use --no-renew with --only-renew: together they do nothing");
    const result = await setLock(names, {
      backend: await openToStay(open),
      expires: flags.noTimeout ? null : flags.timeout,
      fail: flags.fail === true,
      renew,
      create,
      lockedBy: flags.lockedBy,
      lockProcess: flags.processId,
    });
    if (stopping.by !== undefined) {
      await giveBack(result.locks);
      throw stopping.signal.reason;
    }
    output.result(setReport(result), result);
    return EXIT.done;
  },
};
