/**
 * The worker processes of one trial, and what is done to them.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { sharedClock } from "../history/clock.ts";
import type { HistoryEvent } from "../history/events.ts";
import { fileSink } from "../history/recorder.ts";
import type { WorkerConfig } from "./worker_config.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** How much longer than its work a worker may take to start and to end before it counts as hanging (ms). */
const PATIENCE = 60_000;

/** One worker process. */
interface Member {
  readonly name: string;
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  /** Whether the tests have killed it: then it may end badly. */
  killed: boolean;
  stopped: boolean;
}

/** Sends a signal to a worker, which may have ended by itself. */
function signal({ child }: Member, name: NodeJS.Signals): void {
  if (child.exitCode !== null) return;
  try {
    process.kill(child.pid!, name); // the method of a child that had a signal already does nothing on Deno
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** What is common to all workers of a trial. */
export type SharedConfig = Omit<WorkerConfig, "worker" | "seed" | "history" | "seconds" | "over">;

/** The worker processes of one trial. */
export class Workers implements AsyncDisposable {
  readonly #config: SharedConfig;
  readonly #directory: string;
  readonly #seconds: number;
  #endsAt = Infinity;
  /** Writes down what the tests did, or could not do. */
  readonly note: (event: HistoryEvent) => void;
  readonly #members: Member[] = [];
  /** What went wrong with processes: they broke, or hung. */
  readonly breakages: string[] = [];

  constructor(
    config: SharedConfig,
    directory: string,
    seconds: number,
  ) {
    this.#config = config;
    this.#directory = directory;
    this.#seconds = seconds;
    this.note = fileSink(join(directory, "tests.jsonl"));
  }

  /** The workers that run and are not stopped. */
  get running(): readonly Member[] {
    const isThere = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null;
    return this.#members.filter(({ child, killed, stopped }) => !killed && !stopped && isThere(child));
  }

  /** Milliseconds until the work is over. */
  get left(): number {
    return this.#endsAt - performance.now();
  }

  /** The file that ends the work before its time. */
  get #over(): string {
    return join(this.#directory, "over");
  }

  /** Lets everybody finish what they are at. */
  finish(): void {
    writeFileSync(this.#over, "");
  }

  /** Starts another worker. */
  spawn(seed: number): void {
    const name = `w${this.#members.length + 1}`;
    const history = join(this.#directory, `${name}.jsonl`);
    const config: WorkerConfig = {
      ...this.#config,
      worker: name,
      seed,
      history,
      over: this.#over,
      seconds: Math.max(0, Math.min(this.#seconds, this.left / 1e3)),
    };
    const parameters = ["run", "-A", "--quiet", "--no-check", `${root}tests/faults/worker.ts`, JSON.stringify(config)];
    const child = spawn(process.execPath, parameters, { stdio: ["ignore", "ignore", "pipe"], cwd: root });
    let said = "";
    child.stderr!.on("data", (chunk) => said += chunk);
    const hung = setTimeout(() => {
      this.breakages.push(`${name} hangs\n${said}`);
      signal(member, "SIGKILL");
    }, Math.min(this.#seconds * 1e3, this.left) + PATIENCE);
    const ended = once(child, "close").then(([code, signal]) => {
      clearTimeout(hung);
      const meant = member.killed || (signal === "SIGKILL" && this.#config.diesReleasing);
      if (code !== 0 && !meant) this.breakages.push(`${name} ended with ${code ?? signal}\n${said}`);
      if (code !== 0) this.note({ kind: "ended", at: sharedClock(), worker: name });
    });
    const member: Member = { name, child, ended, killed: false, stopped: false };
    this.#members.push(member);
  }

  /** Waits until all of them work: the time of the trial begins now. */
  async started(): Promise<void> {
    const late = performance.now() + PATIENCE;
    const begun = ({ name }: Member) => existsSync(join(this.#directory, `${name}.jsonl`));
    while (this.running.some((member) => !begun(member)) && performance.now() < late) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.#endsAt = performance.now() + this.#seconds * 1e3;
  }

  /** Kills one on the spot. */
  kill(member: Member): Promise<void> {
    member.killed = true;
    signal(member, "SIGKILL");
    return member.ended;
  }

  /** Stops one for a while. */
  async stop(member: Member, milliseconds: number): Promise<void> {
    member.stopped = true;
    const from = sharedClock();
    signal(member, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    this.note({ kind: "stalled", from, at: sharedClock(), worker: member.name }); // it may be killed before it can
    signal(member, "SIGCONT");
    member.stopped = false;
  }

  /** Writes down that the tests were in the way of the database while `work` ran, and for as long as that lasts. */
  async disturb(what: string, work: () => Promise<void>, aftermath = 0): Promise<void> {
    const from = sharedClock();
    await work();
    this.note({ kind: "disturbed", from, at: sharedClock() + aftermath * 1e6, what });
  }

  /** Waits until all have ended; nothing may be left of them. */
  async ended(): Promise<void> {
    for (const { ended } of this.#members) await ended;
    const left = await this.#processes();
    if (left.length > 0) this.breakages.push(`processes are left: ${left.join(", ")}`);
  }

  /** The processes that know of this trial, by their command lines. */
  async #processes(): Promise<string[]> {
    if (!existsSync("/proc/self/cmdline")) return [];
    const found: string[] = [];
    for (const entry of await readdir("/proc")) {
      if (!/^\d+$/.test(entry)) continue;
      const command = await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => ""); // ended meanwhile
      if (command.includes(this.#directory)) found.push(entry);
    }
    return found;
  }

  /** Reads what all wrote. */
  async history(): Promise<HistoryEvent[]> {
    const events: HistoryEvent[] = [];
    for (const file of await readdir(this.#directory)) {
      if (!file.endsWith(".jsonl")) continue;
      const text = await readFile(join(this.#directory, file), "utf8");
      // a SIGKILL can cut a write where a page of the file ends: that step was not taken, so nobody needs to know of it
      const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
      for (const line of lines) if (line) events.push(JSON.parse(line));
    }
    return events;
  }

  /** Kills all workers. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of this.#members) {
      if (member.child.exitCode === null && member.child.signalCode === null) await this.kill(member);
    }
  }
}
