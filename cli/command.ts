/**
 * What a command of the command line is made of. Each lives in a file of its own under `commands/`.
 *
 * @module
 */
import type { Command, OptionValues } from "commander";
import type { Backend } from "../mod.ts";
import type { Output } from "./output.ts";
import type { Stopping } from "./running/stopping.ts";

/** Flags that every command takes, before or after its name. */
export interface GlobalFlags {
  readonly url?: string;
  readonly mode?: string;
  readonly table?: string;
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** What a command overrides of the flags and the environment. */
export interface OpenOptions {
  readonly mode?: string;
  readonly migrate?: boolean;
}

/** What a command works with. */
export interface Context {
  readonly global: GlobalFlags;
  /** Writes results and messages. */
  readonly output: Output;
  /** Signals that ask this program to end. */
  readonly stopping: Stopping;
  readonly command: Command;
  /** Opens the database of the flags or the environment; it is closed when the command ends. */
  open(options?: OpenOptions): Promise<Backend>;
}

/** One command. */
export interface CommandSpec {
  readonly name: string;
  readonly alias?: string;
  readonly summary: string;
  readonly description?: string;
  /** Command lines and what they do. */
  readonly examples: readonly (readonly [line: string, does: string])[];
  /** Whether stdout belongs to a command that it runs: with `--json` errors are then printed on stderr. */
  readonly passesOutput?: boolean;
  /**
   * What a signal does. Without it, the command ends at once. With `gives back`, the program waits a few seconds for the
   * command to release what it acquired; with `ends itself`, it waits until the command ends.
   */
  readonly onSignal?: "gives back" | "ends itself";
  /** Adds the arguments and flags, if there are any. */
  define?(command: Command): Command;
  /** Returns the arguments, where the parser cannot separate them from flags. */
  operands?(command: Command): string[];
  /** Runs the command and returns the exit code. */
  run(context: Context, operands: readonly string[], flags: OptionValues): Promise<number>;
}
