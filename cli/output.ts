/**
 * Writes results to stdout and messages to stderr; with `--json` the result is one JSON document.
 *
 * @module
 */
import process from "node:process";
import { type Paint, paints } from "./formats/paint.ts";
import { printable, toJson } from "./formats/text.ts";
import { wantsColour } from "./host.ts";

/** What a command prints with. */
export interface Output {
  readonly json: boolean;
  readonly paint: Paint;
  /** Prints a result: `text` for people, or with `--json` the document. Called once by a command. */
  result(text: string, document: unknown): void;
  message(text: string): void;
}

/** Codes of an error that mean that the reader of a pipe or a socket has closed it. */
const READER_GONE = ["EPIPE", "ECONNRESET", "EOF"];

/** A standard stream that is written completely, and that remembers its error. */
class Sink {
  readonly #stream: NodeJS.WriteStream;
  readonly #broken = new AbortController();
  /** Resolves when everything is written, or the stream has failed. */
  written: Promise<unknown> = Promise.resolve();
  #listening = false;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** Aborts when the stream takes no more, with the stream's error. */
  get broken(): AbortSignal {
    return this.#broken.signal;
  }

  /** Why it could not be written; `undefined` if the reader closed it. */
  get error(): Error | undefined {
    const error: NodeJS.ErrnoException | undefined = this.broken.reason;
    return error === undefined || READER_GONE.includes(error.code ?? "") ? undefined : error;
  }

  /**
   * Writes a text as it is. Each write has a callback of its own: on Bun that of a later, empty write is called while
   * this one is still in the buffer, and what is in the buffer at the exit is lost.
   */
  write(text: string): void {
    if (this.broken.aborted) return;
    if (!this.#listening) {
      this.#listening = true;
      this.#stream.on("error", (error) => this.#broken.abort(error)); // without a listener it would end the program
    }
    const writing = new Promise<void>((resolve) => {
      const done = (error?: Error | null) => {
        if (error) this.#broken.abort(error);
        resolve();
      };
      try {
        this.#stream.write(text, done);
      } catch (error) {
        done(error as Error); // Deno throws when the stream is a file
      }
    });
    this.written = Promise.all([this.written, writing]).then(() => {}); // without the results, which would add up
  }
}

const stdout = new Sink(process.stdout);
const stderr = new Sink(process.stderr);

/** Node 22 warns of its SQLite on every start, which cron would mail every night; other warnings are escaped. */
export function filterWarnings(): void {
  const emitWarning = process.emitWarning.bind(process) as (...args: unknown[]) => void;
  process.emitWarning = (...args: unknown[]) => {
    const [warning] = args;
    if (String(warning).startsWith("SQLite is an experimental feature")) return;
    if (warning instanceof Error) writeError(`lockmgr: ${warning.message}`);
    else emitWarning(...args);
  };
}

/** A line to stdout. */
export function writeOut(text: string): void {
  stdout.write(`${printable(text)}\n`);
}

/** A JSON document to stdout, on a line of its own. */
export function writeJson(document: unknown): void {
  writeOut(toJson(document));
}

/** Writes control sequences and escaped text to the terminal. */
export function draw(text: string): void {
  stdout.write(text);
}

/** Aborts when stdout takes no more: the reader has closed it, or the disk is full. */
export const stdoutBroken: AbortSignal = stdout.broken;

/** A line to stderr. */
export function writeError(text: string): void {
  stderr.write(`${printable(text)}\n`);
}

/** A text to stderr after which the line goes on. */
export function prompt(text: string): void {
  stderr.write(printable(text));
}

/** Makes the output for the flags. */
export function outputFor(json: boolean): Output {
  return {
    json,
    paint: paints(!json && wantsColour(process.stdout)),
    result(text, document) {
      if (json) writeJson(document);
      else if (text !== "") writeOut(text);
    },
    message: writeError,
  };
}

/**
 * Waits until everything has been written.
 *
 * @returns Why stdout could not be written; nothing when the reader closed it, as in `lockmgr list | head`.
 */
export async function flushed(): Promise<Error | undefined> {
  await stdout.written;
  if (stdout.error) writeError(`lockmgr: Cannot write to stdout: ${stdout.error.message}`);
  await stderr.written;
  return stdout.error;
}
