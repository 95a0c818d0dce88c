/**
 * The commands as one program: names, flags and help.
 *
 * @module
 */
import { Command, Option } from "commander";
import { someText } from "./arguments.ts";
import type { CommandSpec } from "./command.ts";
import { COMMANDS } from "./commands/all.ts";
import { writeError, writeOut } from "./output.ts";
import { VERSION } from "./version.ts";

const ABOUT = `Locks for programs that already have a database.

A lock reserves a name. Only its holder has it, on every machine that uses the
same database, until it is released or expires.`;

const AFTER = `
Where the locks are kept:
  --url, else the environment variable LOCKMGR_URL, else one SQLite file in
  your state directory (~/.local/state/lockmgr/locks.db on Linux). Programs
  exclude each other when they use the same database and the same table. A
  password is safer in LOCKMGR_URL: others can see command lines.

Exit codes:
  0 done   1 failed   2 busy: another holds the lock   3 lock lost under "run"
  64 wrong usage      "run" gives the exit code of its command

Examples:
  lockmgr run nightly -n -- ./backup.sh   run it unless it is running already
  lockmgr set_lock deploy -t 3600         take a lock for an hour
  lockmgr list_locks                      see who holds what
  lockmgr clear_lock deploy               release it by force
  lockmgr doctor --url postgres://db/app  check that database

"lockmgr COMMAND --help" describes a command.`;

/** Flags that every command takes. */
function globalOptions(): Option[] {
  return [
    new Option("--url <url>", "the database: sqlite:PATH, a path, postgres://…, mysql://… or mariadb://…").argParser(
      someText,
    ),
    new Option("--mode <mode>", "how locks are kept there: as rows, on sessions of the server, or both").choices([
      "lease",
      "session",
      "hybrid",
    ]),
    new Option("--table <name>", 'the table that holds them (default: "lockmgr_locks")').argParser(someText),
    new Option("--json", "print the result as one JSON document"),
    new Option("--debug", "print what happens to locks, and the stack of an error"),
  ];
}

/** Runs the command that was given. */
type Dispatch = (spec: CommandSpec, command: Command) => Promise<void>;

/** Keeps the parser from ending the process and from reading the environment. */
function quiet(command: Command): Command {
  return command
    .exitOverride()
    .configureOutput({
      writeOut: (text) => writeOut(text.replace(/\n$/, "")),
      writeErr: (text) => writeError(text.replace(/\n$/, "")),
      outputError: () => {},
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .configureHelp({ subcommandTerm: (each) => [each.name(), ...each.aliases()].join(", ") })
    .helpOption("-h, --help", "show this help");
}

/** Joins the lines of each paragraph, which the terminal wraps. */
function flowing(text: string): string {
  return text.replaceAll(/(?<!\n)\n(?!\n)/g, " ");
}

function addExamples(command: Command, examples: CommandSpec["examples"]): void {
  const lines = examples.map(([line, does]) => `  ${line}\n      ${does}`);
  command.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
}

function addCommand(program: Command, spec: CommandSpec, dispatch: Dispatch): void {
  const command = quiet(program.command(spec.name));
  if (spec.alias) command.alias(spec.alias);
  command.summary(spec.summary);
  command.description(spec.description ? `${spec.summary}\n\n${flowing(spec.description)}` : spec.summary);
  spec.define?.(command);
  command.optionsGroup("Options of every command:");
  for (const option of globalOptions()) command.addOption(option);
  addExamples(command, spec.examples);
  command.action(async () => await dispatch(spec, command));
}

/** Builds the program; `dispatch` is called with the command that the arguments name. */
export function buildProgram(dispatch: Dispatch): Command {
  const program = quiet(new Command("lockmgr"));
  program
    .description(ABOUT)
    .usage("[options] COMMAND")
    .version(VERSION, "-V, --version", "show the version")
    .helpCommand("help [command]", "show the help of a command")
    .enablePositionalOptions()
    .addHelpText("after", AFTER);
  for (const option of globalOptions()) program.addOption(option);
  for (const spec of COMMANDS) addCommand(program, spec, dispatch);
  return program;
}
