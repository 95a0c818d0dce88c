/**
 * What the command line reads of the process it runs in. `node:process` is there on Deno, Node and Bun alike.
 *
 * @module
 */
import process from "node:process";

/** An environment variable; `undefined` when it is empty, or when the program may not read it. */
export function environment(name: string): string | undefined {
  try {
    return process.env[name] || undefined;
  } catch {
    return undefined; // Deno without permission for this variable: the same as not set
  }
}

/** What is used of a standard stream. */
export interface Stream {
  /** Whether it is a terminal. */
  readonly isTTY?: boolean;
  /** Columns of the terminal. */
  readonly columns?: number;
  /** Rows of the terminal. */
  readonly rows?: number;
}

/** Whether a stream is a terminal that shall see colours (https://no-color.org). */
export function wantsColour(stream: Stream): boolean {
  return stream.isTTY === true && environment("NO_COLOR") === undefined && environment("TERM") !== "dumb";
}

/** Calls `heard` for each of the signals until disposal; one that this system does not have is left out. */
export function onSignals(signals: readonly NodeJS.Signals[], heard: (signal: NodeJS.Signals) => void): Disposable {
  const listening: NodeJS.Signals[] = [];
  for (const signal of signals) {
    try {
      process.on(signal, heard);
      listening.push(signal);
    } catch {
      // Windows knows only a few of them.
    }
  }
  return {
    [Symbol.dispose]: () => {
      for (const signal of listening) process.removeListener(signal, heard);
    },
  };
}
