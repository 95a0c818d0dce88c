/**
 * What the command line reads of the process it runs in. `node:process` is there on Deno, Node and Bun alike.
 *
 * @module
 */
import process from "node:process";
import { ignoredSignals } from "./ignored_signals.ts";

/** An environment variable; `undefined` when it is empty, or when the program may not read it. */
export function environment(name: string): string | undefined {
  try {
    return process.env[name] || undefined;
  } catch {
    return undefined; // Deno without permission for this variable: the same as not set
  }
}

/** Whether to write colours to a stream (https://no-color.org). */
export function wantsColour({ isTTY }: NodeJS.WriteStream): boolean {
  return isTTY === true && environment("NO_COLOR") === undefined && environment("TERM") !== "dumb";
}

/**
 * Calls `heard` for each of the signals until disposal. Signals that were ignored when the program started stay without
 * effect, which takes a listener: without one Node ends at SIGHUP, SIGINT and SIGTERM, and Deno as soon as any signal
 * has a listener.
 */
export function onSignals(signals: readonly NodeJS.Signals[], heard: (signal: NodeJS.Signals) => void): Disposable {
  const listening: [signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void][] = [];
  for (const signal of signals) {
    const listener = ignoredSignals().has(signal) ? () => {} : heard;
    try {
      process.on(signal, listener);
      listening.push([signal, listener]);
    } catch {
      // Windows knows only a few of them.
    }
  }
  return {
    [Symbol.dispose]: () => {
      for (const [signal, listener] of listening) process.removeListener(signal, listener);
    },
  };
}
