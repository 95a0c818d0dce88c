import { builtin, grantedEnvironment, warn } from "../util/runtime.ts";
import { escapeInvisible, quoted } from "./invisible.ts";
import type { LockLoss, LockTrace } from "./events.ts";

/** What prints the events of this process, for each call. */
const printers = new Set<(line: string) => void>();

/**
 * Prints what happens to the locks of this process, one line for each event: what `LOCKMGR_DEBUG=1` in the environment
 * and the command line's `--debug` do. A wait has a line at its start too, and `connect` says which database it opens.
 *
 * @example
 * ```ts
 * import { connect, getLock, printEvents } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const lines: string[] = [];
 * const printing = printEvents((line) => lines.push(line));
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend });
 * printing[Symbol.dispose]();
 * assert.deepEqual(lines.slice(0, 2), ["lockmgr: open sqlite::memory:", 'lockmgr: acquire "jobs" (sqlite, lease)']);
 * assert.match(lines[2], /^lockmgr: acquire "jobs": granted after [\d.]+ ms \(sqlite, lease, token \d+, batch of 1\)$/);
 * ```
 *
 * @param write Prints a line, without invisible characters; see `escapeInvisible`. By default `console.error`.
 * @returns What ends the printing when it is disposed of. Nothing is printed where the runtime has no
 * `node:diagnostics_channel`.
 */
export function printEvents(write: (line: string) => void = (line) => console.error(line)): Disposable {
  if (typeof write !== "function") {
    throw new TypeError(`Cannot write to a value of type ${typeof write}: want a function`);
  }
  const module = builtin<typeof import("node:diagnostics_channel")>("node:diagnostics_channel");
  const subscribers = new Map<string, (message: unknown) => void>([
    ["tracing:lockmgr.acquire:start", (message) => write(`lockmgr: acquire ${subjectOf(message as LockTrace)}`)],
    ["lockmgr.lost", (message) => write(`lockmgr: lost ${lossOf(message as LockLoss)}`)],
  ]);
  for (const verb of ["acquire", "renew", "release"]) {
    const print = (message: unknown) => write(`lockmgr: ${verb} ${outcomeOf(message as LockTrace)}`);
    subscribers.set(`tracing:lockmgr.${verb}:asyncEnd`, print);
  }
  const print = (line: string) => write(line);
  printers.add(print);
  for (const [name, subscriber] of subscribers) module?.subscribe(name, subscriber);
  return {
    [Symbol.dispose]() {
      printers.delete(print);
      for (const [name, subscriber] of subscribers) module?.unsubscribe(name, subscriber);
    },
  };
}

/** Prints events if the environment asks for it and the program does not do so already. */
export function printIfAsked(): void {
  if (printers.size === 0 && grantedEnvironment("LOCKMGR_DEBUG") === "1") printEvents();
}

/** Prints which database is opened, if events are printed. */
export async function printOpening(describe: () => Promise<string>): Promise<void> {
  printIfAsked();
  if (printers.size === 0) return;
  const line = `lockmgr: open ${escapeInvisible(await describe())}`;
  for (const print of printers) Promise.resolve(line).then(print).catch(warn); // what it throws breaks no lock
}

function subjectOf({ engine, mode, name }: LockTrace): string {
  return `${quoted(name)} (${engine}, ${mode})`;
}

function outcomeOf({ engine, mode, name, token, wait, batch, outcome, error }: LockTrace): string {
  const details = [engine, mode];
  if (token !== undefined) details.push(`token ${token}`);
  if (batch !== undefined) details.push(`batch of ${batch}`);
  const why = error === undefined ? "" : `: ${quoted(String(error)).slice(1, -1)}`;
  return `${quoted(name)}: ${outcome} after ${wait!.toFixed(1)} ms (${details.join(", ")})${why}`;
}

function lossOf({ engine, mode, name, token, reason }: LockLoss): string {
  return `${quoted(name)}: ${escapeInvisible(reason)} (${engine}, ${mode}, token ${token})`;
}
