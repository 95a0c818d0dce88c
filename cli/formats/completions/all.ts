/**
 * Completion scripts for shells, made from the program itself.
 *
 * @module
 */
import type { Command } from "commander";
import { bash } from "./bash.ts";
import { fish } from "./fish.ts";
import type { Shell } from "./words.ts";
import { zsh } from "./zsh.ts";

const SCRIPTS: Record<Shell, (program: Command) => string> = { bash, zsh, fish };

/** The completion script of a shell. */
export function completionScript(shell: Shell, program: Command): string {
  return SCRIPTS[shell](program);
}
