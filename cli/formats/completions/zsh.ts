import type { Command, Option } from "commander";
import { commandsOf, namesOf, optionsOf, quoted, SHELLS } from "./words.ts";

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
export function zsh(program: Command): string {
  const described = commandsOf(program).flatMap((command) => {
    return namesOf(command).map((name) => `    ${quoted(`${name}:${command.summary()}`)}`);
  });
  const names = commandsOf(program).flatMap(namesOf).join(" ");
  const cases = commandsOf(program).map((command) => {
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
      if [[ $line[1] == run ]] && ((dashes < CURRENT)); then
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
