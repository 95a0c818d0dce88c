import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { EXIT, exitCodeOf } from "../exit_codes.ts";
import { CommandFailure, isNotPermitted } from "../failures.ts";
import { ignoredSignals } from "../ignored_signals.ts";
import { toJson } from "../formats/text.ts";
import { writeError } from "../output.ts";

/** How a command is started. */
interface StartOptions {
  readonly environment: Readonly<Record<string, string>>;
  /** Whether the words are a line for the shell. */
  readonly shell: boolean;
  /** Leaves it in the terminal's foreground group: it can use the terminal, and its own children are not signalled. */
  readonly foreground: boolean;
}

/** Pauses between checks whether the process group has ended (ms). */
const CHECK_INTERVAL_MS = 20;

const WINDOWS = process.platform === "win32";

/** A running command and its children: one process group, so all of them can be ended. */
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
   * Starts a command with this program's input and output. `born` gets it at once, since a signal that comes while it
   * starts is for the command, too.
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
      process.kill(process.ppid, 0); // throws where Deno permits to start the command but not to stop it
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

  /** Sends a signal to the command and its children; does nothing if they have ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.#process.pid === undefined) return; // it could not be started
    if (!this.#grouped && this.#over) return; // its process id may be another's by now
    try {
      process.kill(this.#target, signal);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // The command goes on, and its lock is still renewed.
      if (code !== "ESRCH") writeError(`lockmgr: Cannot send ${signal} to the command: ${message}`);
    }
  }

  /** The target of `kill`: the group or, without one, the command. */
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

  /** Waits until all its processes have ended, and kills the rest after the grace (in seconds). */
  async finish(grace: number): Promise<void> {
    const deadline = performance.now() + grace * 1e3;
    while (this.alive && performance.now() < deadline) {
      await new Promise((resolve) =>
        setTimeout(resolve, Math.min(CHECK_INTERVAL_MS, Math.max(deadline - performance.now(), 0)))
      );
    }
    if (this.alive) this.signal("SIGKILL");
  }

  /** Sends SIGTERM, and SIGKILL after the grace (in seconds). */
  async stop(grace: number): Promise<void> {
    this.signal("SIGTERM");
    this.signal("SIGCONT"); // a stopped process would not get it
    await this.finish(grace);
  }
}

/**
 * Makes the command ignore the signals that this program was started to ignore: no runtime leaves a signal ignored that
 * it has listened to, and Node resets all of them for its children.
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
