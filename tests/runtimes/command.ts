import { spawn } from "node:child_process";
import process from "node:process";

/** How a program is run. */
export interface CommandOptions {
  /** Its working directory. */
  readonly cwd?: string;
  /** Variables added to the environment; `undefined` takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds after which the program is ended. @default 600000 */
  readonly timeout?: number;
}

/** How a program ended. */
export interface CommandResult {
  /** Its exit code; 1 when a signal ended it. */
  readonly code: number;
  /** Its standard output: the only part that may be parsed, since a cold cache prints progress on the other stream. */
  readonly stdout: string;
  /** Both streams in the order in which they came, for people. */
  readonly output: string;
}

/** Runs a program without input until it ends. */
export function command(
  program: string,
  parameters: readonly string[],
  { cwd, env, timeout = 600_000 }: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      shell: program.endsWith(".cmd"),
    });
    let stdout = "", output = "";
    const timer = setTimeout(() => {
      output += `\nEnded after ${timeout / 1e3} s\n`;
      child.kill("SIGKILL");
    }, timeout);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        output += text;
        if (stream === child.stdout) stdout += text;
      });
    }
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 1, stdout, output });
    });
  });
}
