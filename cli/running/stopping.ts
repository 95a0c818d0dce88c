import process from "node:process";
import { onSignals } from "../host.ts";
import type { Child } from "./child.ts";

/** Signals that ask a program to end. */
const ENDING: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];
/** Signals that mean something to the command alone. */
const OTHERS: NodeJS.Signals[] = ["SIGUSR1", "SIGUSR2", "SIGWINCH"];

/**
 * Hears the signals to this program from now until disposal: before there is a command they end the wait, afterwards
 * they are the command's.
 */
export class Stopping implements Disposable {
  readonly #controller = new AbortController();
  readonly #listening: Disposable[];
  #child: Child | undefined;
  #by: NodeJS.Signals | undefined;
  #resume: () => void = () => {};

  constructor() {
    this.#listening = [
      onSignals(ENDING, (signal) => this.#end(signal)),
      onSignals(OTHERS, (signal) => this.#child?.signal(signal)),
      onSignals(["SIGTSTP"], () => this.#pause()),
      onSignals(["SIGCONT"], () => this.#resume()),
    ];
  }

  /** The first signal that asked to end. */
  get by(): NodeJS.Signals | undefined {
    return this.#by;
  }

  /** Aborts with the first signal that asks to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Hands every signal on to the command; one that came while it started, too. `resume` is called before it goes on after a stop. */
  forwardTo(child: Child, resume: () => void): void {
    this.#child = child;
    this.#resume = () => {
      resume();
      child.signal("SIGCONT");
    };
    if (this.#by !== undefined) child.signal(this.#by);
  }

  [Symbol.dispose](): void {
    for (const each of this.#listening) each[Symbol.dispose]();
  }

  #end(signal: NodeJS.Signals): void {
    this.#by ??= signal;
    this.#controller.abort(new Error(`Stopped by ${signal}`));
    this.#child?.signal(signal);
  }

  /** Ctrl-Z stops this program and the command alike. */
  #pause(): void {
    this.#child?.signal("SIGSTOP"); // a group of its own session would not heed SIGTSTP
    process.kill(process.pid, "SIGSTOP");
  }
}
