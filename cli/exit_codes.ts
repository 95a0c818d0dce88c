/**
 * What the command line's exit codes mean.
 *
 * @module
 */
import { constants } from "node:os";

/** The codes that scripts may rely on. Under `run` the command's own code comes through instead. */
export const EXIT = {
  /** What was asked for was done. */
  done: 0,
  /** It failed: the database could not be reached, a lock was not found. */
  failed: 1,
  /** Another holds the lock. */
  busy: 2,
  /** The lock was lost while the command ran. */
  lost: 3,
  /** The command line itself is wrong (`EX_USAGE` of sysexits.h). */
  usage: 64,
  /** The command under `run` cannot be executed, as in shells. */
  notExecutable: 126,
  /** The command under `run` was not found, as in shells. */
  notFound: 127,
} as const;

/** The code of a program that a signal ended: 128 and the signal's number, as in shells. */
export function exitCodeOf(signal: string): number {
  return 128 + ((constants.signals as Record<string, number>)[signal] ?? 0);
}
