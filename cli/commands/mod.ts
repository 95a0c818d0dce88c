/**
 * All commands, in the order in which the help shows them.
 *
 * @module
 */
import type { CommandSpec } from "../command.ts";
import { clearLock } from "./clear_lock.ts";
import { listLocksCommand } from "./list_locks.ts";
import { resetLocksCommand } from "./reset_locks.ts";
import { run } from "./run.ts";
import { setLockCommand } from "./set_lock.ts";

/** Every command of the command line. */
export const COMMANDS: readonly CommandSpec[] = [
  setLockCommand,
  listLocksCommand,
  clearLock,
  resetLocksCommand,
  run,
];
