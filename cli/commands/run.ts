import type { Command, OptionValues } from "commander";
import process from "node:process";
import { type Backend, BackendError, getLock, type Lock, Locked } from "../../mod.ts";
import type { CommandSpec, Context } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { CommandFailure, UsageError } from "../failures.ts";
import { toJson } from "../formats/text.ts";
import { announceWait } from "../queries.ts";
import { Child } from "../running/child.ts";
import { defineRun, LEASE } from "../running/flags.ts";
import { Stopped, type Stopping } from "../running/stopping.ts";

/** How long children of the command may run after a signal has ended the command (s). */
const LEFTOVER_GRACE = 1;
/** How long the release of the lock may take after a signal (s). */
const RELEASE_GRACE = 5;

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
    ["lockmgr run migrate -w 300 -- npm run migrate", "wait up to five minutes for another migration"],
    ["lockmgr run feed --shell -- 'fetch | load'", "a line for the shell"],
  ],
  passesOutput: true,
  onSignal: "ends itself",
  define: defineRun,
  operands: (command) => {
    const [name, ...rest] = command.args;
    return [name, ...commandOf(command, rest)];
  },
  async run(context, [name, ...words], flags) {
    if (words.length === 0) throw new UsageError(`Cannot run nothing: want "lockmgr run NAME -- COMMAND"`);
    if (flags.nonblock && flags.wait !== undefined) {
      throw new UsageError("Cannot use --nonblock with --wait: one waits, the other does not");
    }
    context.stopping.listenForCommand();
    const lock = await take(context, name, flags);
    return await runUnder(lock, words, flags, context);
  },
};

/** Parses what follows the name: more flags of ours, then the command, which begins at `--` or the first word. */
function commandOf(command: Command, rest: string[]): string[] {
  const { operands, unknown } = command.parseOptions(rest);
  if (unknown.length === 0) return operands;
  if (unknown[0] === "-h" || unknown[0] === "--help") command.help();
  return (command as unknown as { unknownOption(flag: string): never }).unknownOption(unknown[0]);
}

/** Acquires the lock, unless a signal comes. */
async function take(context: Context, name: string, flags: OptionValues): Promise<Lock> {
  const { stopping } = context;
  let waiting: Disposable | undefined;
  try {
    const backend = await context.open();
    waiting = announceWait(backend, name, context.output.message);
    const lock = await getLock(name, {
      backend,
      expires: leaseOf(backend, flags),
      wait: flags.nonblock ? 0 : flags.wait ?? Infinity,
      signal: stopping.signal,
      autoRenew: true,
      lockedBy: flags.lockedBy,
      lockProcess: process.pid,
    });
    if (stopping.by === undefined) return lock;
    await stopping.outcomeOf(lock[Symbol.asyncDispose](), RELEASE_GRACE);
    throw stopping.signal.reason;
  } catch (error) {
    throw stopping.by === undefined ? busyAs(error, context.command, flags) : stopping.signal.reason;
  } finally {
    waiting?.[Symbol.dispose]();
  }
}

/** The lease in seconds. A session lock has none: it lasts as long as its connection. */
function leaseOf(backend: Backend, flags: OptionValues): number | undefined {
  if (backend.mode !== "session") return flags.lease ?? LEASE;
  if (flags.lease === undefined) return undefined;
  throw new UsageError('Cannot use --lease in "session" mode: the lock lasts as long as its connection');
}

/** Gives "busy" the exit code of `-E`; with `-n` as well it prints nothing. */
function busyAs(error: unknown, command: Command, flags: OptionValues): unknown {
  const chosen = command.getOptionValueSource("conflictExitCode") === "cli";
  if (!(error instanceof Locked) || !chosen) return error;
  const expected = flags.nonblock === true;
  return new CommandFailure(flags.conflictExitCode, error.message, { cause: error, lock: error.holder, expected });
}

/** Runs the command and releases the lock. */
async function runUnder(
  lock: Lock,
  words: readonly string[],
  flags: OptionValues,
  context: Context,
): Promise<number> {
  const { stopping } = context;
  let code: number;
  try {
    lock.signal.throwIfAborted();
    code = await runCommand(lock, words, flags, context);
  } catch (error) {
    await lock[Symbol.asyncDispose](); // never throws: the first error wins
    throw error;
  }
  const released = await release(lock, stopping).catch((error) => {
    if (code === EXIT.done && !lock.signal.aborted) throw error;
    context.output.message(`lockmgr: ${error.message}`);
    return true;
  });
  if (lock.signal.aborted) throw lock.signal.reason;
  if (!released) throw new CommandFailure(EXIT.lost, `Cannot keep lock ${toJson(lock.name)}: it was lost`);
  return code;
}

/** Releases the lock; after a signal it waits at most `RELEASE_GRACE`. */
async function release(lock: Lock, stopping: Stopping): Promise<boolean> {
  stopping.commandEnded();
  try {
    return await stopping.outcomeOf(lock.unlock(), RELEASE_GRACE);
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    throw new BackendError(`Cannot release lock ${toJson(lock.name)} within ${RELEASE_GRACE} s of ${error.signal}`);
  }
}

/** The command from start to end. */
async function runCommand(
  lock: Lock,
  words: readonly string[],
  flags: OptionValues,
  { stopping, output }: Context,
): Promise<number> {
  const options = {
    environment: { LOCKMGR_NAME: lock.name, LOCKMGR_TOKEN: String(lock.token) },
    shell: flags.shell === true,
    foreground: flags.foreground === true,
  };
  const resume = () => lock.held; // asking notices what a long stop has cost
  const child = await Child.start(words, options, (child) => stopping.forwardTo(child, resume));
  let stopped: Promise<void> | undefined;
  const lost = () => {
    output.message(`lockmgr: Lost lock ${toJson(lock.name)}: ending ${toJson(words[0])}`);
    stopped ??= child.stop(flags.grace);
  };
  if (lock.signal.aborted) lost();
  else lock.signal.addEventListener("abort", lost, { once: true });
  const code = await child.ended;
  lock.signal.removeEventListener("abort", lost);
  if (stopping.by !== undefined) stopped ??= child.finish(LEFTOVER_GRACE);
  await stopped;
  return code;
}
