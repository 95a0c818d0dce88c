/**
 * What the completion scripts of all shells are made of.
 *
 * @module
 */
import type { Command, Option } from "commander";

/** A shell for which there is a script. */
export type Shell = "bash" | "zsh" | "fish";

/** The shells for which there is a script. */
export const SHELLS: readonly Shell[] = ["bash", "zsh", "fish"];

/** The commands that people may want to complete. */
export function commandsOf(program: Command): readonly Command[] {
  return program.commands;
}

/** Every name that a command goes by. */
export function namesOf(command: Command): string[] {
  return [command.name(), ...command.aliases()];
}

/** The flags of a command that its help shows. */
export function optionsOf(command: Command): readonly Option[] {
  return command.options.filter(({ hidden }) => !hidden);
}

/** The flags of a command as they are typed. */
export function flagsOf(command: Command): string[] {
  return ["-h", "--help", ...optionsOf(command).flatMap(({ short, long }) => [short, long])].filter((flag) =>
    flag !== undefined
  );
}

/** A text as one word of a shell that knows single quotes. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
