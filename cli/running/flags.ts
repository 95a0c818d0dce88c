import { type Command, Option } from "commander";
import { exitCode, holders, lockedBy, longestWait, seconds } from "../arguments.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";

/** The lease (s), renewed at a third of it: so long a lock outlives a machine that died. */
export const LEASE = 60;
/** Seconds from SIGTERM to SIGKILL after a loss. */
const GRACE = 10;
/** The lease (s) of `lead`: so long a name has no leader after a machine died. */
export const LEADER_LEASE = 30;

/** Adds the arguments of `run`; hidden flags are flock's, and mean the same here. */
export function defineRun(command: Command): Command {
  return defineCommand(command, LEASE)
    .addOption(longestWait())
    .addOption(new Option("-n, --nonblock", "do not wait: exit code 2 if another holds the lock"))
    .addOption(
      new Option("-E, --conflict-exit-code <code>", "exit code when the lock is busy; with -n, silently")
        .argParser(exitCode).default(EXIT.busy),
    )
    .addOption(new Option("-s, --shared", "hold it beside others that share it (a reader)"))
    .addOption(new Option("--limit <number>", "hold it beside others, at most so many at a time").argParser(holders))
    .addOption(
      new Option(
        "--hold-at-least <seconds>",
        "keep the name so long after it was acquired, also once the command has ended",
      )
        .argParser(seconds),
    )
    .addOption(new Option("--command", "as flock's").implies({ shell: true }).hideHelp())
    .addOption(new Option("--nb", "as flock's").implies({ nonblock: true }).hideHelp())
    .addOption(new Option("-x, --exclusive", "as flock's: what it is anyway").hideHelp())
    .addOption(new Option("-e", "as flock's: the same").hideHelp())
    .addOption(new Option("-o, --close", "as flock's: the command has nothing of the lock").hideHelp());
}

/** Adds the arguments of `lead`. */
export function defineLead(command: Command): Command {
  return defineCommand(command, LEADER_LEASE);
}

/** Adds the arguments of a command that runs another one under a lock. */
function defineCommand(command: Command, lease: number): Command {
  return command
    .usage("[options] NAME [options] -- COMMAND [arguments...]")
    .argument("<name>", "name to lock")
    .argument("[command...]", "command to run, with its arguments")
    .passThroughOptions()
    .addOption(
      new Option("-t, --lease <seconds>", `lease, renewed at a third of it; 0 never expires (default: ${lease})`)
        .argParser(seconds),
    )
    .addOption(
      new Option("--grace <seconds>", "time from SIGTERM to SIGKILL when the lock is lost").argParser(seconds)
        .default(GRACE),
    )
    .option("-c, --shell", "the command is one line for /bin/sh")
    .option(
      "--foreground",
      "let the command use the terminal, as for a password; signals reach it alone, not what it has started",
    )
    .addOption(lockedBy());
}

/**
 * Returns the name, and the command with its arguments. After the name there may be more flags of ours; the command begins
 * at `--` or the first word.
 */
export function commandAfterName(command: Command): string[] {
  const [name, ...rest] = command.args;
  const { operands, unknown } = command.parseOptions(rest);
  if (unknown.length === 0) return [name, ...operands];
  if (unknown[0] === "-h" || unknown[0] === "--help") command.help();
  return (command as unknown as { unknownOption(flag: string): never }).unknownOption(unknown[0]);
}

/** Refuses a call without a command. */
export function requireCommand(verb: string, words: readonly string[]): void {
  if (words.length === 0) throw new UsageError(`Cannot run nothing: want "lockmgr ${verb} NAME -- COMMAND"`);
}
