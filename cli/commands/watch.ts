import { Option } from "commander";
import process from "node:process";
import { type Backend, BackendError, type LockRecord, type WatchOptions } from "../../mod.ts";
import { someSeconds } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { changesBetween } from "../formats/changes.ts";
import { frame, type Look } from "../formats/watch_frame.ts";
import { environment, onSignals } from "../host.ts";
import { changesOf } from "../queries.ts";
import { draw, type Output, stdoutBroken, writeJson } from "../output.ts";
import type { Stopping } from "../running/stopping.ts";

/** Switches to the alternate screen, without cursor and line wrap; and back. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** Shows the locks that are held, and errors. */
interface View {
  /** Shows the present holders of a name. */
  show(name: string, holders: readonly LockRecord[]): void;
  /** Shows the error of the last query; `undefined` once the database answers again. */
  trouble(message: string | undefined): void;
  /** Puts the terminal back as it was. */
  end(): void;
}

/** The rows of the terminal; one without a known size says 0. */
function rowsOfTerminal(): number {
  return process.stdout.rows || 24;
}

/** A table that is redrawn in place: after each change, after `interval` seconds, and when the terminal changes its size. */
function picture(output: Output, backend: Backend, interval: number): View {
  const held = new Map<string, readonly LockRecord[]>();
  let look: Look = { records: [] };
  let failure: string | undefined;
  let looking: Promise<void> | undefined;
  let ended = false;
  const redraw = () => {
    if (ended) return; // a query was under way
    const columns = process.stdout.columns || 80; // 0 if unknown
    const trouble = failure ?? look.trouble;
    const lines = frame(look, { columns, rows: rowsOfTerminal(), paint: output.paint, trouble });
    draw(`\x1b[H${lines.map((line) => `\x1b[2K${line}`).join("\r\n")}\x1b[J`);
  };
  const refresh = () =>
    looking ??= Promise.resolve().then(async () => { // after the other changes of the same query
      look = await lookAt(backend, [...held.keys()].sort().flatMap((name) => held.get(name)!));
      looking = undefined;
      redraw();
    });
  draw(ENTER);
  refresh();
  const resized = onSignals(["SIGWINCH"], redraw);
  const timer = setInterval(refresh, interval * 1e3);
  return {
    show(name, holders) {
      if (holders.length > 0) held.set(name, holders);
      else held.delete(name);
      refresh();
    },
    trouble(message) {
      failure = message;
    },
    end() {
      ended = true;
      clearInterval(timer);
      resized[Symbol.dispose]();
      draw(LEAVE);
    },
  };
}

/** Asks the server which connections hold the locks and wait for them. */
async function lookAt(backend: Backend, records: readonly LockRecord[]): Promise<Look> {
  try {
    const shown = records.slice(0, rowsOfTerminal()); // the others would be asked about for nothing
    const seen = await backend.observe?.(shown.map(({ name }) => name));
    return { records, ...(seen ? { seen: new Map(seen.map((each) => [each.name, each])) } : {}) };
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    return { records, trouble: error.message };
  }
}

/** A line for each change. */
function journal(output: Output): View {
  const startedAt = performance.now();
  const held = new Map<string, readonly LockRecord[]>();
  let troubled: string | undefined;
  return {
    show(name, holders) {
      const since = (performance.now() - startedAt) / 1e3;
      for (const change of changesBetween(name, held.get(name) ?? [], holders, since)) writeJson(change);
      if (holders.length > 0) held.set(name, holders);
      else held.delete(name);
    },
    trouble(message) {
      if (message !== undefined && message !== troubled) output.message(`lockmgr: ${message}`);
      troubled = message;
    },
    end: () => {},
  };
}

/** Shows the changes until a signal comes or stdout fails. */
async function follow(view: View, options: WatchOptions & { interval: number }, stopping: Stopping): Promise<void> {
  const changes = changesOf({ ...options, signal: AbortSignal.any([stopping.signal, stdoutBroken]) });
  for (;;) {
    const { value: change } = await stopping.outcomeOf(changes.next(), 0);
    if (change === undefined) break;
    if (change instanceof BackendError) view.trouble(change.message);
    else {
      view.trouble(undefined);
      view.show(change.name, change.holders);
    }
  }
  stopping.signal.throwIfAborted();
}

/** `watch`: shows the locks that are held, as they change. */
export const watch: CommandSpec = {
  name: "watch",
  summary: "show the locks that are held, as they change",
  description: `On a terminal a table that is redrawn in place. Otherwise, and with --json, one
line of JSON for each change: "held" for the locks at the beginning, then "acquired",
"renewed", "released" and "expired". A lock that is acquired and released between
two queries is not shown.`,
  examples: [
    ["lockmgr watch", "until Ctrl-C"],
    ["lockmgr watch --prefix db: | jq -r '.change + \" \" + .name'", "for programs"],
  ],
  define: (command) =>
    command
      .option("--prefix <text>", "only names that begin with this text")
      .addOption(
        new Option("-i, --interval <seconds>", "longest time between two queries").argParser(someSeconds).default(1),
      ),
  onSignal: "ends itself",
  async run({ open, output, stopping }, _operands, flags) {
    const backend = await open();
    if (backend.mode === "session") {
      throw new UsageError(
        'Cannot watch in "session" mode: there is no list of names; use "lockmgr show NAME"',
      );
    }
    const onTerminal = !output.json && process.stdout.isTTY === true && environment("TERM") !== "dumb";
    const { prefix, interval } = flags;
    const view = onTerminal ? picture(output, backend, interval) : journal(output);
    try {
      await follow(view, { backend, prefix, interval }, stopping);
    } finally {
      view.end();
    }
    return EXIT.done;
  },
};
