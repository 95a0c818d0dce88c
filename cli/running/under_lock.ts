import type { OptionValues } from "commander";
import process from "node:process";
import { type Backend, BackendError, getLock, type Lock } from "../../mod.ts";
import type { Context } from "../command.ts";
import { within } from "../deadline.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { toJson } from "../formats/text.ts";
import { announceWait } from "../queries.ts";
import { Child } from "./child.ts";
import { LEASE } from "./flags.ts";
import { Stopped, type Stopping } from "./stopping.ts";

/** How long children of the command may run after a signal has ended the command (s). */
const LEFTOVER_GRACE = 1;
/** How long the release of the lock may take after a signal or a loss (s). */
const RELEASE_GRACE = 5;

/** Acquires the lock within so many seconds, unless a signal comes. */
export async function takeLock(
  { stopping, output }: Context,
  backend: Backend,
  name: string,
  flags: OptionValues,
  wait: number,
  lease = LEASE,
): Promise<Lock> {
  const waiting = announceWait(backend, name, output.message);
  try {
    const lock = await getLock(name, {
      backend,
      expires: leaseOf(backend, flags, lease),
      wait,
      signal: stopping.signal,
      autoRenew: true,
      lockedBy: flags.lockedBy,
      lockProcess: process.pid,
      shared: flags.shared,
      limit: flags.limit,
      holdAtLeast: flags.holdAtLeast,
    });
    if (stopping.by === undefined) return lock;
    await stopping.outcomeOf(lock[Symbol.asyncDispose](), RELEASE_GRACE);
    throw stopping.signal.reason;
  } catch (error) {
    throw stopping.by === undefined ? error : stopping.signal.reason;
  } finally {
    waiting[Symbol.dispose]();
  }
}

/** The lease in seconds. A session lock has none: it lasts as long as its connection. */
function leaseOf(backend: Backend, flags: OptionValues, lease: number): number | undefined {
  if (backend.mode !== "session") return flags.lease ?? lease;
  if (flags.lease === undefined) return undefined;
  throw new UsageError('Cannot use --lease in "session" mode: the lock lasts as long as its connection');
}

/**
 * Runs the command, releases the lock and returns the command's exit code.
 *
 * @throws {LockLost} When the lock was lost; the command has been ended.
 */
export async function runUnder(
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
  await release(lock, stopping).catch((error) => {
    if (code === EXIT.done && !lock.signal.aborted) throw error;
    context.output.message(`lockmgr: ${error.message}`);
  });
  lock.signal.throwIfAborted(); // also if it was gone when it was to be released
  return code;
}

/** Releases the lock; after a signal or a loss it waits at most `RELEASE_GRACE`. */
async function release(lock: Lock, stopping: Stopping): Promise<void> {
  stopping.commandEnded();
  const late = (since: string) =>
    new BackendError(`Cannot release lock ${toJson(lock.name)} within ${RELEASE_GRACE} s of ${since}`);
  const unlocked = lock.unlock();
  const bounded = lock.signal.aborted ? within(RELEASE_GRACE, unlocked, () => late("its loss")) : unlocked;
  try {
    await stopping.outcomeOf(bounded, RELEASE_GRACE);
  } catch (error) {
    throw error instanceof Stopped ? late(error.signal) : error;
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
