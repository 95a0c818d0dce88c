import type { Command } from "commander";
import { commandsOf, flagsOf, namesOf, quoted, SHELLS } from "./words.ts";

/** The script for bash. */
export function bash(program: Command): string {
  const cases = commandsOf(program).map((command) => {
    return `    ${namesOf(command).join("|")}) words=${quoted(flagsOf(command).join(" "))} ;;`;
  });
  const all = [...commandsOf(program).flatMap(namesOf), "help"].join(" ");
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
    help) words=${quoted(commandsOf(program).flatMap(namesOf).join(" "))} ;;
    completions) words=${quoted(SHELLS.join(" "))} ;;
${cases.filter((line) => !line.trim().startsWith("completions")).join("\n")}
    *) words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _lockmgr lockmgr`;
}
