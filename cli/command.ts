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
  /** Where the locks are kept. */
  readonly url?: string;
  /** How they are kept. */
  readonly mode?: string;
  /** In which table. */
  readonly table?: string;
  /** Whether the result is JSON. */
  readonly json?: boolean;
  /** Whether errors are printed with their stack. */
  readonly debug?: boolean;
}

/** What a command overrides of the flags and the environment. */
export interface OpenOptions {
  /** Another mode. */
  readonly mode?: string;
  /** Whether the table may be created. */
  readonly migrate?: boolean;
}

/** What a command works with. */
export interface Context {
  /** The flags that every command takes. */
  readonly global: GlobalFlags;
  /** Writes results and messages. */
  readonly output: Output;
  /** Signals that ask this program to end. */
  readonly stopping: Stopping;
  /** The command as it was parsed. */
  readonly command: Command;
  /** Opens the database of the flags or the environment; it is closed when the command ends. */
  open(options?: OpenOptions): Promise<Backend>;
}

/** One command. */
export interface CommandSpec {
  /** Its name. */
  readonly name: string;
  /** A shorter name. */
  readonly alias?: string;
  /** What it does, in one line. */
  readonly summary: string;
  /** More about it. */
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
  /** Adds its arguments and flags. */
  define(command: Command): Command;
  /** Returns the arguments, where the parser cannot separate them from flags. */
  operands?(command: Command): string[];
  /** Runs the command and returns the exit code. */
  run(context: Context, operands: readonly string[], flags: OptionValues): Promise<number>;
}
