/**
 * Questions to the person at the terminal, and only there.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { prompt } from "./output.ts";

/** Whether a person can read the question and answer it. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/**
 * Asks on stderr and reads one line; `undefined` when the input has ended. The terminal stays in its own line mode, in
 * which Ctrl-C ends the program.
 */
export function question(text: string): Promise<string | undefined> {
  prompt(text);
  const lines = createInterface({ input: process.stdin, terminal: false });
  return new Promise((resolve) => {
    lines.once("line", (line) => {
      resolve(line);
      lines.close();
    });
    lines.once("close", () => resolve(undefined));
  });
}
