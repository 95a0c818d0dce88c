/**
 * From arguments to an exit code.
 *
 * @module
 */
import { type Command, CommanderError } from "commander";
import { type Backend, printEvents } from "../mod.ts";
import type { CommandSpec, Context, GlobalFlags } from "./command.ts";
import { within } from "./deadline.ts";
import { EXIT, exitCodeOf } from "./exit_codes.ts";
import { type Failure, failureOf, traceOf } from "./failures.ts";
import { wantsColour } from "./host.ts";
import process from "node:process";
import { paints } from "./formats/paint.ts";
import { toJson, visible, visibleLines } from "./formats/text.ts";
import { openBackend, targetInWords, targetOf } from "./opening.ts";
import { flushed, outputFor, writeError, writeOut } from "./output.ts";
import { buildProgram } from "./program.ts";
import { Stopped, Stopping } from "./running/stopping.ts";
import { redactor } from "./secrets.ts";

/** How long a command may take after a signal to release what it acquired (s). */
const GIVE_BACK_S = 3;
/** How long closing a database may take (s). */
const CLOSE_S = 5;
/** How long a slow reader may take after a signal to read what was written (s). */
const FLUSH_S = 2;

/**
 * Runs one command line and returns its exit code, without ending the process.
 *
 * @example
 * ```ts
 * import { main } from "@lockmgr/lockmgr/cli";
 * import assert from "node:assert/strict";
 *
 * assert.equal(await main(["list_locks", "--url", "sqlite::memory:"]), 0);
 * assert.equal(await main(["list_locks", "--no-such-flag"]), 64);
 * ```
 *
 * @param args What follows the program's name.
 * @returns The exit code: 0 done, 1 failed, 2 busy, 3 lock lost under `run`, 64 wrong usage, or that of `run`'s command.
 */
export async function main(args: readonly string[]): Promise<number> {
  const stopping = new Stopping();
  return await execute(args, stopping).finally(() => stopping[Symbol.dispose]());
}

/** Does the same for a caller that listens to signals until the process has ended. */
export async function execute(args: readonly string[], stopping: Stopping): Promise<number> {
  let exitCode: number = EXIT.done;
  let passesOutput = false;
  const program = buildProgram(async (spec, command) => {
    passesOutput = spec.passesOutput ?? false;
    exitCode = await perform(spec, command, stopping);
  });
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    exitCode = await reportError(error, flagsOf(program, args), passesOutput ? writeError : writeOut);
  }
  try {
    const unwritten = await stopping.outcomeOf(flushed(), FLUSH_S);
    return unwritten && exitCode === EXIT.done ? EXIT.failed : exitCode;
  } catch {
    return exitCode; // after a signal, and nothing reads
  }
}

/** The flags that every command takes, wherever they stand; a later one wins. */
function globalFlags(command: Command): GlobalFlags {
  return { ...command.parent?.opts(), ...command.opts() };
}

/** Those flags of a command line that may be wrong. */
function flagsOf(program: Command, args: readonly string[]): GlobalFlags {
  const own = args.slice(0, args.includes("--") ? args.indexOf("--") : undefined);
  const { url, mode, table }: GlobalFlags = Object.assign(
    {},
    program.opts(),
    ...program.commands.map((command) => command.opts()),
  );
  return { url, mode, table, json: own.includes("--json"), debug: own.includes("--debug") };
}

/** Runs a command, and closes its database. */
async function perform(spec: CommandSpec, command: Command, stopping: Stopping): Promise<number> {
  const operands = spec.operands?.(command) ?? command.args;
  const global = globalFlags(command);
  const opened: Backend[] = [];
  const redact = redactor([targetOf(global)]);
  const printing = global.debug ? printEvents((line) => writeError(visible(redact(line)))) : undefined;
  const context: Context = {
    global,
    command,
    stopping,
    output: outputFor(global.json ?? false),
    async open(options) {
      const backend = await stopping.outcomeOf(openBackend(global, options), 0); // nothing is asked for yet
      opened.push(backend);
      return backend;
    },
  };
  try {
    const work = spec.run(context, operands, command.opts());
    if (spec.onSignal === "ends itself") return await work;
    return await stopping.outcomeOf(work, spec.onSignal === "gives back" ? GIVE_BACK_S : 0);
  } finally {
    await Promise.all(opened.map(close));
    printing?.[Symbol.dispose]();
  }
}

/** Closes a database. A failure is reported and changes no exit code: the work is done. */
async function close(backend: Backend): Promise<void> {
  try {
    await within(CLOSE_S, backend[Symbol.asyncDispose](), () => new Error(`it took more than ${CLOSE_S} s`));
  } catch (error) {
    writeError(`lockmgr: ${visible(redactor([])(`Cannot close the database: ${(error as Error).message}`))}`);
  }
}

/** Reports an error and returns the exit code. */
async function reportError(
  error: unknown,
  flags: GlobalFlags,
  writeDocument: (text: string) => void,
): Promise<number> {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
  if (error instanceof Stopped) return exitCodeOf(error.signal);
  const failure = error instanceof CommanderError ? usageFailure(error) : failureOf(error);
  const redact = redactor([targetOf(flags)]);
  const paint = paints(wantsColour(process.stderr));
  const database = failure.ofDatabase ? await targetInWords(flags) : "";
  const report = failure.expected ? [] : [
    `${paint.bad("lockmgr:")} ${visibleLines(redact(failure.message))}`,
    ...failure.lock ? [`  ${visible(redact(String(failure.lock)))}`] : [],
    ...failure.ofDatabase && isServer(database) ? [`  The database is ${visible(redact(database))}.`] : [],
    ...failure.advice ? [`  ${visibleLines(redact(failure.advice))}`] : [],
  ];
  for (const line of report) writeError(line);
  if (flags.debug) writeError(visibleLines(redact(traceOf(error))));
  if (flags.json) writeDocument(toJson({ error: documentOf(failure, redact) }));
  return failure.exitCode;
}

/** Whether a database is named by a URL; the message itself names a file. */
function isServer(database: string): boolean {
  return /^[a-z]+:\/\//.test(database);
}

function documentOf({ code, message, advice, lock }: Failure, redact: (text: string) => string): object {
  return { code, message: redact(message), ...(advice ? { advice } : {}), ...(lock ? { lock } : {}) };
}

/** Names in other programs, and ours. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  acquire: "set_lock, or run to hold it while a command runs",
  lock: "set_lock, or run to hold it while a command runs",
  exec: "run",
  unlock: "clear_lock",
  release: "clear_lock",
  remove: "clear_lock",
  ls: "list_locks",
  locks: "list_locks",
  status: "list_locks, or show NAME",
  info: "show",
  extend: "renew",
  "--timeout": "--wait, the time to wait as of flock, or --lease",
};

function otherWordFor(message: string): string | undefined {
  const word = /'(.*)'/.exec(message)?.[1].toLowerCase() ?? "";
  return Object.hasOwn(OTHER_WORDS, word) ? `Did you mean ${OTHER_WORDS[word]}?` : undefined;
}

/** The parser quotes what it does not know: a URL in the wrong place would be shown with its password. */
function withoutValues(message: string): string {
  return message.replace(/'([^]*)'/g, (quoted, word: string) => {
    if (!/[@=]|:[/\\]|:.*:/.test(word)) return quoted;
    return /^--?[A-Za-z]/.test(word) ? `'${/^--?[A-Za-z-]*/.exec(word)![0]}…'` : "'***'";
  });
}

/** The parser's error as a sentence. */
function usageFailure({ code, message }: CommanderError): Failure {
  if (code === "commander.help") { // the help was shown
    return { exitCode: EXIT.usage, code: "USAGE", message: "Cannot run without a command", expected: true };
  }
  const [first, suggestion] = withoutValues(message.replace(/^error: /, "")).split("\n");
  const sentence = (first.charAt(0).toUpperCase() + first.slice(1)).replace(/\.$/, "");
  const other = code.startsWith("commander.unknown") ? otherWordFor(message) : undefined;
  const advice = [other ?? suggestion?.replace(/^\((.*)\)$/, "$1"), '"lockmgr --help" shows what there is.'].filter(
    Boolean,
  );
  return { exitCode: EXIT.usage, code: "USAGE", message: sentence, advice: advice.join("\n  ") };
}
