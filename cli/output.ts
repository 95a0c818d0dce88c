/**
 * Where things are written: results to stdout, messages to people to stderr, one JSON document with `--json`.
 *
 * @module
 */
import process from "node:process";
import { wantsColour } from "./host.ts";
import { type Paint, paints } from "./formats/paint.ts";

/** What a command prints with. */
export interface Output {
  /** Whether the result is JSON. */
  readonly json: boolean;
  /** Colours of stdout. */
  readonly paint: Paint;
  /** Prints a result: `text` for people, or with `--json` the document. Called once by a command. */
  result(text: string, document: unknown): void;
  /** Tells people something that is no result. */
  message(text: string): void;
}

/** Ends quietly when the reader has gone away, as in `lockmgr list | head -1`. */
export function endWithReader(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}

/** Node 22 warns of its SQLite on every start, which a cron job would mail to somebody every night. */
export function silenceSqliteWarning(): void {
  const emitWarning = process.emitWarning.bind(process) as (...args: unknown[]) => void;
  process.emitWarning = (...args: unknown[]) => {
    if (!String(args[0]).startsWith("SQLite is an experimental feature")) emitWarning(...args);
  };
}

/** A line to stdout. */
export function writeOut(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A line to stderr. */
export function writeError(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Output as the flags want it. */
export function outputFor(json: boolean): Output {
  return {
    json,
    paint: paints(!json && wantsColour(process.stdout)),
    result(text, document) {
      if (json) writeOut(JSON.stringify(document));
      else if (text !== "") writeOut(text);
    },
    message: writeError,
  };
}

/** Resolves when what was written has left the process. */
export async function flushed(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => stream.write("", () => resolve()));
  }
}
