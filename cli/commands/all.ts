/**
 * All commands, in the order in which the help shows them.
 *
 * @module
 */
import type { CommandSpec } from "../command.ts";
import { clean } from "./clean.ts";
import { clearLock } from "./clear_lock.ts";
import { completions } from "./completions.ts";
import { doctor } from "./doctor.ts";
import { lead } from "./lead.ts";
import { listLocksCommand } from "./list_locks.ts";
import { renew } from "./renew.ts";
import { resetLocksCommand } from "./reset_locks.ts";
import { run } from "./run.ts";
import { schema } from "./schema.ts";
import { setLockCommand } from "./set_lock.ts";
import { show } from "./show.ts";
import { wait } from "./wait.ts";
import { watch } from "./watch.ts";

/** Every command of the command line. */
export const COMMANDS: readonly CommandSpec[] = [
  setLockCommand,
  listLocksCommand,
  clearLock,
  resetLocksCommand,
  run,
  lead,
  renew,
  wait,
  show,
  watch,
  clean,
  schema,
  doctor,
  completions,
];
