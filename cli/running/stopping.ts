import process from "node:process";
import { onSignals } from "../host.ts";
import type { Child } from "./child.ts";

/** Signals that ask a program to end. */
const ENDING: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];
/** Signals that mean something to the command alone. */
const OTHERS: NodeJS.Signals[] = ["SIGUSR1", "SIGUSR2", "SIGWINCH"];

/** A signal ended the program before it was done. */
export class Stopped extends Error {
  override readonly name = "Stopped";
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`Stopped by ${signal}`);
    this.signal = signal;
  }
}

/**
 * Listens to signals until disposal: one that asks to end aborts what the program does, or is forwarded to the command
 * that runs.
 */
export class Stopping implements Disposable {
  readonly #controller = new AbortController();
  readonly #listening: Disposable[];
  #child: Child | undefined;
  #by: NodeJS.Signals | undefined;
  #resume: () => void = () => {};

  constructor() {
    this.#listening = [onSignals(ENDING, (signal) => this.#end(signal))];
  }

  /** The first signal that asked to end. */
  get by(): NodeJS.Signals | undefined {
    return this.#by;
  }

  /** Aborts with {@linkcode Stopped} at the first signal that asks to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Waits for the outcome of some work, after a signal at most `grace` seconds.
   *
   * @throws {Stopped} If there is no outcome by then.
   */
  async outcomeOf<T>(work: Promise<T>, grace: number): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let startGrace = () => {};
    const late = new Promise<never>((_, reject) => {
      startGrace = () => timer = setTimeout(() => reject(this.signal.reason), grace * 1e3);
    });
    if (this.signal.aborted) startGrace();
    else this.signal.addEventListener("abort", startGrace, { once: true });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
      this.signal.removeEventListener("abort", startGrace);
    }
  }

  /** Listens to the signals that only a command needs, too. */
  listenForCommand(): void {
    this.#listening.push(
      onSignals(OTHERS, (signal) => this.#child?.signal(signal)),
      onSignals(["SIGTSTP"], () => this.#pause()),
      onSignals(["SIGCONT"], () => this.#resume()),
    );
  }

  /** Forwards every signal to the command; one that came while it started, too. `resume` is called before it goes on after a stop. */
  forwardTo(child: Child, resume: () => void): void {
    this.#child = child;
    this.#resume = () => {
      resume();
      child.signal("SIGCONT");
    };
    if (this.#by !== undefined) child.signal(this.#by);
  }

  /** Stops forwarding: the command has ended. */
  commandEnded(): void {
    this.#child = undefined;
    this.#resume = () => {};
  }

  [Symbol.dispose](): void {
    for (const each of this.#listening) each[Symbol.dispose]();
  }

  #end(signal: NodeJS.Signals): void {
    this.#by ??= signal;
    this.#controller.abort(new Stopped(this.#by));
    this.#child?.signal(signal);
  }

  /** Ctrl-Z stops this program and the command alike. */
  #pause(): void {
    this.#child?.signal("SIGSTOP"); // a group in another session ignores SIGTSTP
    process.kill(process.pid, "SIGSTOP");
  }
}
