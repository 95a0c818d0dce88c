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

/** Every name that a command goes by. */
function namesOf(command: Command): string[] {
  return [command.name(), ...command.aliases()];
}

/** The flags of a command that its help shows. */
function optionsOf(command: Command): readonly Option[] {
  return command.options.filter(({ hidden }) => !hidden);
}

/** The flags of a command as they are typed. */
function flagsOf(command: Command): string[] {
  return ["-h", "--help", ...optionsOf(command).flatMap(({ short, long }) => [short, long])].filter((flag) =>
    flag !== undefined
  );
}

/** A text as one word of a shell that knows single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The script for bash. */
function bash(program: Command): string {
  const cases = program.commands.map((command) => {
    return `    ${namesOf(command).join("|")}) words=${quoted(flagsOf(command).join(" "))} ;;`;
  });
  const all = [...program.commands.flatMap(namesOf), "help"].join(" ");
  return `# bash completion for lockmgr: source it, or save it as ~/.local/share/bash-completion/completions/lockmgr
_lockmgr() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= word words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      COMPREPLY=()
      if ((i + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$current")); else compopt -o default; fi
      return
    fi
    case $word in
      --url|--mode|--table) i=$((i + 1)) ;;
      -*) ;;
      *) [[ -z $command ]] && command=$word ;;
    esac
  done
  if [[ $previous == --mode ]]; then
    COMPREPLY=($(compgen -W 'lease session hybrid' -- "$current"))
    return
  elif [[ $previous == --url ]]; then
    COMPREPLY=()
    compopt -o default
    return
  fi
  case $command in
    '') words=${quoted(`${all} ${flagsOf(program).join(" ")}`)} ;;
    help) words=${quoted(program.commands.flatMap(namesOf).join(" "))} ;;
    completions) words=${quoted(SHELLS.join(" "))} ;;
${cases.filter((line) => !line.trim().startsWith("completions")).join("\n")}
    *) words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _lockmgr lockmgr`;
}

/** A flag for zsh's `_arguments`, with what it says of itself and whether a value follows. */
function zshFlag({ short, long, description, required, argChoices }: Option): string[] {
  const text = description.replace(/[[\]:\\]/g, (character) => `\\${character}`);
  const value = required ? `:value:${argChoices ? `(${argChoices.join(" ")})` : "_default"}` : "";
  return [short, long].filter((flag) => flag !== undefined).map((flag) => quoted(`${flag}[${text}]${value}`));
}

/** What stands beside the flags of a command: names of locks are not known here. */
function zshWords(command: Command): string[] {
  if (command.name() === "completions") return [`':shell:(${SHELLS.join(" ")})'`];
  return ["'*:name: '"];
}

/** The script for zsh. */
function zsh(program: Command): string {
  const described = program.commands.flatMap((command) => {
    return namesOf(command).map((name) => `    ${quoted(`${name}:${command.summary()}`)}`);
  });
  const names = program.commands.flatMap(namesOf).join(" ");
  const cases = program.commands.map((command) => {
    const flags = [...optionsOf(command).flatMap(zshFlag), "'(-h --help)'{-h,--help}'[show this help]'"];
    const words = [...flags, ...zshWords(command)].join(" \\\n          ");
    return `        ${namesOf(command).join("|")}) _arguments ${words} ;;`;
  });
  return `#compdef lockmgr
# zsh completion for lockmgr: save it as _lockmgr in a directory of $fpath
_lockmgr() {
  local -a commands
  commands=(
${described.join("\n")}
    'help:show the help of a command'
  )
  local state line
  _arguments -C ${optionsOf(program).flatMap(zshFlag).join(" \\\n    ")} \\
    '(-)1:command:->command' '(-)*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      local dashes=\${words[(i)--]}
      if [[ $line[1] == (run|lead) ]] && ((dashes < CURRENT)); then
        shift $dashes words
        ((CURRENT -= dashes))
        _normal
        return
      fi
      case $line[1] in
${cases.join("\n")}
        help) _arguments ${quoted(`:command:(${names})`)} ;;
      esac ;;
  esac
}
if [[ $funcstack[1] == _lockmgr ]]; then _lockmgr "$@"; else compdef _lockmgr lockmgr; fi`;
}

/** Functions of fish: the command that was typed, whether it is one of some, and what follows `--`. */
const FISH_FUNCTIONS = `function __lockmgr_command
    set -l words (commandline -opc)
    set -e words[1]
    set -l value no
    for word in $words
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case --
                return
            case --url --mode --table
                set value yes
            case '-*'
            case '*'
                echo $word
                return
        end
    end
end
function __lockmgr_first
    test (count (__lockmgr_command)) -eq 0
end
function __lockmgr_is
    not contains -- -- (commandline -opc)
    and contains -- (__lockmgr_command) $argv
end
function __lockmgr_run
    contains -- -- (commandline -opc)
    and contains -- (__lockmgr_command) run lead
end
function __lockmgr_command_line
    set -l words (commandline -opc)
    set -l dashes (contains -i -- -- $words)
    set -e words[1..$dashes]
    complete -C (string join -- ' ' (string escape -- $words) (commandline -ct))
end`;

/** The script for fish. */
function fish(program: Command): string {
  const lines = [
    "# fish completion for lockmgr: save it as ~/.config/fish/completions/lockmgr.fish",
    FISH_FUNCTIONS,
    "complete -c lockmgr -f",
    "complete -c lockmgr -n __lockmgr_run -x -a '(__lockmgr_command_line)'",
  ];
  const flag = (condition: string, { short, long, description, required, argChoices }: Option) => {
    const parts = ["complete -c lockmgr", `-n ${quoted(condition)}`];
    if (short?.length === 2) parts.push(`-s ${short.slice(1)}`);
    if (long) parts.push(`-l ${long.slice(2)}`);
    if (required) parts.push(argChoices ? `-x -a ${quoted(argChoices.join(" "))}` : long === "--url" ? "-r -F" : "-x");
    return [...parts, `-d ${quoted(description)}`].join(" ");
  };
  const names = program.commands.flatMap(namesOf);
  const word = (condition: string, text: string, description: string) =>
    `complete -c lockmgr -n ${quoted(condition)} -a ${quoted(text)} -d ${quoted(description)}`;
  for (const command of program.commands) {
    for (const name of namesOf(command)) lines.push(word("__lockmgr_first", name, command.summary()));
    const condition = `__lockmgr_is ${namesOf(command).join(" ")}`;
    lines.push(...optionsOf(command).map((option) => flag(condition, option)));
  }
  lines.push(word("__lockmgr_first", "help", "show the help of a command"));
  lines.push(word("__lockmgr_is help", names.join(" "), "a command"));
  lines.push(word("__lockmgr_is completions", SHELLS.join(" "), "a shell"));
  lines.push(...optionsOf(program).map((option) => flag("__lockmgr_first", option)));
  lines.push(`complete -c lockmgr -n ${quoted(`__lockmgr_first; or __lockmgr_is ${names.join(" ")}`)} -s h -l help`);
  return lines.join("\n");
}

const SCRIPTS: Record<Shell, (program: Command) => string> = { bash, zsh, fish };

/** Returns the completion script of a shell. */
export function completionScript(shell: Shell, program: Command): string {
  return SCRIPTS[shell](program);
}
