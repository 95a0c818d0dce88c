/**
 * Completion scripts for shells, made from the program itself.
 *
 * @module
 */
import type { Command, Option } from "commander";

/** A shell for which there is a script. */
export type Shell = "bash" | "zsh" | "fish";

/** The shells for which there is a script. */
export const SHELLS: readonly Shell[] = ["bash", "zsh", "fish"];

/** The commands that people may want to complete. */
function commandsOf(program: Command): readonly Command[] {
  return program.commands;
}

/** Every name that a command goes by. */
function namesOf(command: Command): string[] {
  return [command.name(), ...command.aliases()];
}

/** The flags of a command as they are typed. */
function flagsOf(command: Command): string[] {
  return ["-h", "--help", ...command.options.flatMap(({ short, long }) => [short, long])].filter((flag) =>
    flag !== undefined
  );
}

/** A text as one word of a shell that knows single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function bash(program: Command): string {
  const cases = commandsOf(program).map((command) => {
    return `    ${namesOf(command).join("|")}) words=${quoted(flagsOf(command).join(" "))} ;;`;
  });
  const all = [...commandsOf(program).flatMap(namesOf), "help"].join(" ");
  return `# bash completion for lockmgr: source it, or save it as ~/.local/share/bash-completion/completions/lockmgr
_lockmgr() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= word words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -- ]] && { COMPREPLY=(); compopt -o default; return; }
    case $word in
      --url|--mode|--table) i=$((i + 1)) ;;
      -*) ;;
      *) [[ -z $command ]] && command=$word ;;
    esac
  done
  if [[ $previous == --mode ]]; then
    COMPREPLY=($(compgen -W 'lease session hybrid' -- "$current"))
    return
  fi
  case $command in
    '') words=${quoted(`${all} ${flagsOf(program).join(" ")}`)} ;;
    help) words=${quoted(commandsOf(program).flatMap(namesOf).join(" "))} ;;
    completions) words=${quoted(SHELLS.join(" "))} ;;
${cases.filter((line) => !line.trim().startsWith("completions")).join("\n")}
    *) words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _lockmgr lockmgr`;
}

/** A flag for zsh's `_arguments`, with what it says of itself and whether a value follows. */
function zshFlag({ short, long, description, required, argChoices }: Option): string[] {
  const text = description.replace(/[[\]:\\]/g, (character) => `\\${character}`);
  const value = required ? `:value:${argChoices ? `(${argChoices.join(" ")})` : "_default"}` : "";
  return [short, long].filter((flag) => flag !== undefined).map((flag) => quoted(`${flag}[${text}]${value}`));
}

function zsh(program: Command): string {
  const described = commandsOf(program).flatMap((command) => {
    return namesOf(command).map((name) => `    ${quoted(`${name}:${command.summary()}`)}`);
  });
  const cases = commandsOf(program).map((command) => {
    const rest = command.name() === "completions" ? `':shell:(${SHELLS.join(" ")})'` : "'*::argument:_default'";
    const flags = command.options.flatMap(zshFlag);
    return `        ${namesOf(command).join("|")}) _arguments ${[...flags, rest].join(" \\\n          ")} ;;`;
  });
  return `#compdef lockmgr
# zsh completion for lockmgr: save it as _lockmgr in a directory of $fpath
_lockmgr() {
  local -a commands
  commands=(
${described.join("\n")}
  )
  local state line
  _arguments -C ${program.options.flatMap(zshFlag).join(" \\\n    ")} \\
    '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
${cases.join("\n")}
      esac ;;
  esac
}
if [[ $funcstack[1] == _lockmgr ]]; then _lockmgr "$@"; else compdef _lockmgr lockmgr; fi`;
}

function fish(program: Command): string {
  const lines = ["# fish completion for lockmgr: save it as ~/.config/fish/completions/lockmgr.fish"];
  const flag = (condition: string, { short, long, description, required, argChoices }: Option) => {
    const parts = ["complete -c lockmgr", `-n ${quoted(condition)}`];
    if (short?.length === 2) parts.push(`-s ${short.slice(1)}`);
    if (long) parts.push(`-l ${long.slice(2)}`);
    if (required) parts.push(argChoices ? `-x -a ${quoted(argChoices.join(" "))}` : "-r");
    return [...parts, `-d ${quoted(description)}`].join(" ");
  };
  for (const command of commandsOf(program)) {
    for (const name of namesOf(command)) {
      lines.push(`complete -c lockmgr -f -n __fish_use_subcommand -a ${name} -d ${quoted(command.summary())}`);
    }
    const condition = `__fish_seen_subcommand_from ${namesOf(command).join(" ")}`;
    lines.push(...command.options.map((option) => flag(condition, option)));
  }
  lines.push(...program.options.map((option) => flag("__fish_use_subcommand", option)));
  lines.push(
    `complete -c lockmgr -f -n '__fish_seen_subcommand_from completions' -a ${quoted(SHELLS.join(" "))}`,
  );
  return lines.join("\n");
}

const SCRIPTS: Record<Shell, (program: Command) => string> = { bash, zsh, fish };

/** The completion script of a shell. */
export function completionScript(shell: Shell, program: Command): string {
  return SCRIPTS[shell](program);
}
