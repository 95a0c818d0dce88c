import { type Command, Option } from "commander";
import { exitCode, seconds, someText } from "../arguments.ts";
import { EXIT } from "../exit_codes.ts";

/** The lease (s), renewed at a third of it: so long a lock outlives a machine that died. */
export const LEASE = 60;
/** Seconds from SIGTERM to SIGKILL after a loss. */
const GRACE = 10;
/** Adds the arguments of `run`; hidden flags are flock's, and mean the same here. */
export function defineRun(command: Command): Command {
  return command
    .usage("[options] NAME [options] -- COMMAND [arguments...]")
    .argument("<name>", "name to lock")
    .argument("[command...]", "command to run, with its arguments")
    .passThroughOptions()
    .addOption(
      new Option("-w, --wait <seconds>", "wait at most so long (default: until it is free)").argParser(seconds),
    )
    .addOption(new Option("-n, --nonblock", "do not wait: exit code 2 if another holds the lock"))
    .addOption(
      new Option("-E, --conflict-exit-code <code>", "exit code when the lock is busy; with -n, silently")
        .argParser(exitCode).default(EXIT.busy),
    )
    .addOption(
      new Option("-t, --lease <seconds>", `lease, renewed at a third of it; 0 never expires (default: ${LEASE})`)
        .argParser(seconds),
    )
    .addOption(
      new Option("--grace <seconds>", "time from SIGTERM to SIGKILL when the lock is lost").argParser(seconds)
        .default(GRACE),
    )
    .option("-c, --shell", "the command is one line for /bin/sh")
    .addOption(new Option("--command", "as flock's").implies({ shell: true }).hideHelp())
    .addOption(new Option("--nb", "as flock's").implies({ nonblock: true }).hideHelp())
    .addOption(new Option("-x, --exclusive", "as flock's: what it is anyway").hideHelp())
    .addOption(new Option("-e", "as flock's: the same").hideHelp())
    .addOption(new Option("-o, --close", "as flock's: the command has nothing of the lock").hideHelp())
    .option(
      "--foreground",
      "let the command use the terminal, as for a password; signals reach it alone, not what it has started",
    )
    .addOption(
      new Option("--locked-by <who>", "name of the holder, for people (default: this host's name)").argParser(
        someText,
      ),
    );
}
