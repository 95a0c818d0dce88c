import { Option } from "commander";
import process from "node:process";
import { type Backend, BackendError, listLocks, type LockRecord } from "../../mod.ts";
import { someSeconds } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { UsageError } from "../failures.ts";
import { changesBetween } from "../formats/changes.ts";
import { frame, type Look } from "../formats/watch_frame.ts";
import { environment, onSignals, type Stream } from "../host.ts";
import { draw, type Output, stdoutBroken, writeJson } from "../output.ts";
import type { Stopping } from "../running/stopping.ts";

/** Switches to the alternate screen, without cursor and line wrap; and back. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** Shows the locks that are held, and errors. */
interface View {
  look(): Promise<Look>;
  show(look: Look, trouble?: string): void;
  /** Puts the terminal back as it was. */
  end(): void;
}

/** The rows of the terminal; one without a known size says 0. */
function rowsOf({ rows }: Stream): number {
  return rows || 24;
}

/** A table that is redrawn in place, also when the terminal changes its size. */
function picture(output: Output, backend: Backend, prefix: string | undefined): View {
  let redraw = () => {};
  draw(ENTER);
  const resized = onSignals(["SIGWINCH"], () => redraw());
  return {
    async look() {
      const records = await listLocks({ backend, prefix });
      try {
        const shown = records.slice(0, rowsOf(process.stdout)); // the others would be asked about for nothing
        const seen = await backend.observe?.(shown.map(({ name }) => name));
        return { records, ...(seen ? { seen: new Map(seen.map((each) => [each.name, each])) } : {}) };
      } catch (error) {
        if (!(error instanceof BackendError)) throw error;
        return { records, trouble: error.message };
      }
    },
    show(look, trouble = look.trouble) {
      redraw = () => {
        const columns = process.stdout.columns || 80; // 0 if unknown
        const lines = frame(look, { columns, rows: rowsOf(process.stdout), paint: output.paint, trouble });
        draw(`\x1b[H${lines.map((line) => `\x1b[2K${line}`).join("\r\n")}\x1b[J`);
      };
      redraw();
    },
    end() {
      resized[Symbol.dispose]();
      draw(LEAVE);
    },
  };
}

/** A line for each change. */
function journal(output: Output, backend: Backend, prefix: string | undefined): View {
  let before: readonly LockRecord[] | undefined;
  let troubled: string | undefined;
  return {
    look: async () => ({ records: await listLocks({ backend, prefix }) }),
    show({ records }, trouble) {
      if (trouble !== undefined && trouble !== troubled) output.message(`lockmgr: ${trouble}`);
      troubled = trouble;
      if (trouble !== undefined) return;
      for (const change of changesBetween(before, records)) writeJson(change);
      before = records;
    },
    end: () => {},
  };
}

/** Queries and shows until a signal comes or stdout fails. A database that fails is queried again. */
async function follow(view: View, interval: number, stopping: Stopping) {
  let look = await stopping.outcomeOf(view.look(), 0);
  let trouble: string | undefined;
  for (;;) {
    view.show(look, trouble);
    await pause(interval, AbortSignal.any([stopping.signal, stdoutBroken]));
    stopping.signal.throwIfAborted();
    if (stdoutBroken.aborted) return;
    try {
      look = await stopping.outcomeOf(view.look(), 0);
      trouble = undefined;
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      trouble = error.message;
    }
  }
}

/** A pause that ends early when the signal aborts. */
function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1e3);
    signal.addEventListener("abort", done);
  });
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
      .addOption(new Option("-i, --interval <seconds>", "time between two queries").argParser(someSeconds).default(1)),
  onSignal: "ends itself",
  async run({ open, output, stopping }, _operands, flags) {
    const backend = await open();
    if (backend.mode === "session") {
      throw new UsageError(
        'Cannot watch in "session" mode: there is no list of names; use "lockmgr show NAME"',
      );
    }
    const onTerminal = !output.json && process.stdout.isTTY === true && environment("TERM") !== "dumb";
    const view = (onTerminal ? picture : journal)(output, backend, flags.prefix);
    try {
      await follow(view, flags.interval, stopping);
    } finally {
      view.end();
    }
    return EXIT.done;
  },
};
