import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { EXIT, exitCodeOf } from "../exit_codes.ts";
import { CommandFailure, isNotPermitted } from "../failures.ts";
import { ignoredSignals } from "../ignored_signals.ts";
import { toJson } from "../formats/text.ts";
import { writeError } from "../output.ts";

/** How a command shall be started. */
export interface StartOptions {
  /** Added to the environment that it inherits. */
  readonly environment: Readonly<Record<string, string>>;
  /** Whether the words are a line for the shell. */
  readonly shell: boolean;
  /** Leaves it in the terminal's foreground group: it can use the terminal, and its own children are not signalled. */
  readonly foreground: boolean;
}

/** Pauses between looks whether anybody of the group is left (ms). */
const LOOK = 20;

const WINDOWS = process.platform === "win32";

/** A command that runs, with all that it starts: one process group, so that none of it is left behind. */
export class Child {
  readonly #process: ChildProcess;
  readonly #grouped: boolean;
  #over = false;
  /** The exit code: its own, or 128 and the number of the signal that ended it. */
  readonly ended: Promise<number>;

  private constructor(child: ChildProcess, grouped: boolean) {
    this.#process = child;
    this.#grouped = grouped;
    this.ended = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        this.#over = true;
        resolve(signal === null ? code ?? EXIT.failed : exitCodeOf(signal));
      });
    });
  }

  /**
   * Starts a command with this program's input and output. `born` gets it at once, before anything else can happen: a
   * signal that comes while it starts is meant for it, too.
   *
   * @throws {CommandFailure} With 127 when there is no such command, and 126 when it cannot be executed.
   */
  static async start(
    words: readonly string[],
    options: StartOptions,
    born: (child: Child) => void,
  ): Promise<Child> {
    const [command, ...args] = ignoring(options.shell && !WINDOWS ? ["/bin/sh", "-c", words.join(" ")] : words);
    const grouped = !options.foreground && !WINDOWS;
    try {
      process.kill(process.ppid, 0); // Deno may let us start it and not stop it: better not to start it then
      const started = spawn(command, args, {
        stdio: "inherit",
        detached: grouped, // a session, and so a group, of its own
        env: { ...process.env, ...options.environment },
        shell: options.shell && WINDOWS,
      });
      const child = new Child(started, grouped);
      born(child);
      await new Promise<void>((resolve, reject) => {
        started.once("spawn", resolve);
        started.once("error", reject);
      });
      started.on("error", () => {}); // a signal that came too late is no error
      return child;
    } catch (error) {
      throw isNotPermitted(error) ? error : notStarted(words, error as NodeJS.ErrnoException);
    }
  }

  /** Sends a signal to the command and to all that it started; one that has ended does not mind. */
  signal(signal: NodeJS.Signals): void {
    if (this.#process.pid === undefined) return; // it could not be started
    if (!this.#grouped && this.#over) return; // its process id may be another's by now
    try {
      process.kill(this.#target, signal);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // Nothing is gained by giving up here: the command goes on, and so does the watch over its lock.
      if (code !== "ESRCH") writeError(`lockmgr: Cannot send ${signal} to the command: ${message}`);
    }
  }

  /** What `kill` shall mean: the group or, without one, the command. */
  get #target(): number {
    const pid = this.#process.pid!;
    return this.#grouped ? -pid : pid;
  }

  /** Whether the command, or anything of its group, is still there. */
  get alive(): boolean {
    if (!this.#grouped) return !this.#over;
    try {
      process.kill(this.#target, 0);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EPERM";
    }
  }

  /** Waits until nothing of it is left, and kills what still is when the grace (in seconds) is over. */
  async finish(grace: number): Promise<void> {
    const deadline = performance.now() + grace * 1e3;
    while (this.alive && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK, Math.max(deadline - performance.now(), 0))));
    }
    if (this.alive) this.signal("SIGKILL");
  }

  /** Asks it to end, and kills it when it has not by the end of the grace (in seconds). */
  async stop(grace: number): Promise<void> {
    this.signal("SIGTERM");
    this.signal("SIGCONT"); // one that is stopped could not hear it
    await this.finish(grace);
  }
}

/**
 * The command as it is started so that it, too, ignores what this program was started to ignore: no runtime leaves a
 * signal ignored that it has listened to, and Node resets all of them for its children.
 */
function ignoring(words: readonly string[]): readonly string[] {
  const ignored = [...ignoredSignals()].map((signal) => signal.slice("SIG".length));
  return ignored.length === 0 ? words : ["/bin/sh", "-c", `trap '' ${ignored.join(" ")}; exec "$@"`, "sh", ...words];
}

function notStarted(words: readonly string[], error: NodeJS.ErrnoException): CommandFailure {
  const command = toJson(words[0]);
  const missing = error.code === "ENOENT";
  const reason = missing
    ? "there is no such command"
    : error.code === "EACCES"
    ? "it is not executable"
    : error.message;
  return new CommandFailure(missing ? EXIT.notFound : EXIT.notExecutable, `Cannot run ${command}: ${reason}`, {
    cause: error,
  });
}
