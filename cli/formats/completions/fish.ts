import type { Command, Option } from "commander";
import { commandsOf, namesOf, optionsOf, quoted, SHELLS } from "./words.ts";

/** What fish is asked for: the command that was typed, whether it is one of some, and what follows `--`. */
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
    and contains -- (__lockmgr_command) run
end
function __lockmgr_command_line
    set -l words (commandline -opc)
    set -l dashes (contains -i -- -- $words)
    set -e words[1..$dashes]
    complete -C (string join -- ' ' (string escape -- $words) (commandline -ct))
end`;

/** The script for fish. */
export function fish(program: Command): string {
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
  const names = commandsOf(program).flatMap(namesOf);
  const word = (condition: string, text: string, description: string) =>
    `complete -c lockmgr -n ${quoted(condition)} -a ${quoted(text)} -d ${quoted(description)}`;
  for (const command of commandsOf(program)) {
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
