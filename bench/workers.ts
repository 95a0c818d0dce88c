/**
 * Worker processes under any runtime, which are told what to do and answer, one line of JSON each.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Order } from "./worker.ts";

/** How a runtime runs a program: its name, the command, and where the sources are. */
export interface Runner {
  readonly name: string;
  readonly command: readonly string[];
  readonly root: string;
}

/** The runtime of this process, on the project itself. */
export const here: Runner = {
  name: "Deno",
  command: [process.execPath, "run", "-A", "--quiet", "--no-check"],
  root: fileURLToPath(new URL("..", import.meta.url)),
};

/** A worker that does one thing after the other. */
export interface Worker extends AsyncDisposable {
  /** Tells it to do something and answers what came of it. */
  do<Answer>(order: Order): Promise<Answer>;
}

/** How long an order may take (ms): a hang becomes an error. */
const PATIENCE = 300_000;

function answered<Answer>(child: ChildProcess, line: Promise<IteratorResult<string>>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`A worker has not answered within ${PATIENCE / 1e3} s`));
    }, PATIENCE);
    line.then(({ value, done }) => {
      clearTimeout(timer);
      if (done) return reject(new Error("A worker ended before it answered"));
      const { answer, error } = JSON.parse(value);
      if (error === undefined) resolve(answer);
      else reject(new Error(error));
    }, reject);
  });
}

/** Starts a worker. */
export function startWorker({ command: [program, ...first], root }: Runner): Worker {
  const child = spawn(program, [...first, join(root, "bench/worker.ts")], {
    cwd: root,
    stdio: ["pipe", "pipe", "inherit"],
  });
  return speakWith(child);
}

/** A process that reads orders and answers them, as a worker. */
export function speakWith(child: ChildProcess): Worker {
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    do: (order) => {
      child.stdin!.write(`${JSON.stringify(order)}\n`);
      return answered(child, lines.next());
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.stdin!.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await ended;
      clearTimeout(timer);
    },
  };
}
