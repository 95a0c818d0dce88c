/**
 * Programs of the tests' own in processes of their own, under the runtime that runs the tests.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** A running program that says what happens, one JSON value a line. */
export interface Worker extends AsyncDisposable {
  /** Its process. */
  readonly child: ChildProcess;
  /** The next thing it says. */
  next<T>(): Promise<T>;
  /** Everything it says until it ends. */
  rest<T>(): Promise<T[]>;
  /** Says something to it. */
  tell(value: unknown): void;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
}

/** Runs a command of root's without the capabilities by which root passes over the permissions of files. */
const UNPRIVILEGED = process.getuid?.() === 0
  ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search", "--"]
  : [];

function launch(file: string, args: string[], before: readonly string[] = []): ChildProcess {
  const runtime = "Deno" in globalThis ? ["run", "-A", "--quiet"] : [];
  const [program, ...parameters] = [...before, process.execPath, ...runtime, `${root}${file}`, ...args];
  return spawn(program, parameters, { stdio: ["pipe", "pipe", "inherit"], cwd: root });
}

/** Longest that a test waits for a program (ms): a hang becomes a failure that names it. */
const PATIENCE = 120_000;

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${PATIENCE / 1e3} s for ${what}`)), PATIENCE);
  });
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Starts a program, given by its path from the root of the project. */
export function start(file: string, args: string[]): Worker {
  return talkingTo(launch(file, args), file);
}

/** Starts a program for which the permissions of files hold, also if the tests run as root. */
export function startUnprivileged(file: string, args: string[]): Worker {
  return talkingTo(launch(file, args, UNPRIVILEGED), file);
}

/** Starts a program several times. Disposal ends all of them; Node 22 has no `AsyncDisposableStack`. */
export function startEach(file: string, parameters: readonly string[][]): Worker[] & AsyncDisposable {
  const workers = parameters.map((args) => start(file, args));
  const dispose = async () => void await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
  return Object.assign(workers, { [Symbol.asyncDispose]: dispose });
}

/** A program that was started with pipes for what it says and is told. */
export function talkingTo(child: ChildProcess, file: string): Worker {
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const ended = once(child, "close").then(([code, signal]) => code ?? signal);
  const next = async () => {
    const { value, done } = await within(lines.next(), `what ${file} says next`);
    if (done) throw new Error(`${file} ended before it said what was waited for`);
    return JSON.parse(value);
  };
  return {
    child,
    ended,
    next,
    async rest() {
      const all = [];
      for (let line = await lines.next(); !line.done; line = await lines.next()) all.push(JSON.parse(line.value));
      return all;
    },
    tell: (value) => void child.stdin!.write(`${JSON.stringify(value)}\n`),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      child.stdin!.destroy();
      await ended;
    },
  };
}

/** Runs a program to its end. */
export async function run(file: string, args: string[]): Promise<{ code: number | null; output: string }> {
  const child = launch(file, args);
  let output = "";
  child.stdout!.on("data", (chunk) => output += chunk);
  child.stdin!.end();
  const [code] = await once(child, "close");
  return { code, output };
}
