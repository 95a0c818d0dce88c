import { Argument } from "commander";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { completionScript, type Shell, SHELLS } from "../formats/completions.ts";

/** `completions`: prints a script for a shell. */
export const completions: CommandSpec = {
  name: "completions",
  summary: "print a completion script for a shell",
  examples: [
    ["source <(lockmgr completions bash)", "in ~/.bashrc"],
    ["lockmgr completions zsh > ~/.zfunc/_lockmgr", "with ~/.zfunc in $fpath"],
    ["lockmgr completions fish > ~/.config/fish/completions/lockmgr.fish", "once"],
  ],
  define: (command) => command.addArgument(new Argument("<shell>", "which one").choices([...SHELLS])),
  // deno-lint-ignore require-await -- as asynchronous as the other commands
  async run({ output, command }, [shell]) {
    const script = completionScript(shell as Shell, command.parent!);
    output.result(script, { shell, script });
    return EXIT.done;
  },
};
