/**
 * The command line: `lockmgr COMMAND`.
 *
 * ```sh
 * deno install -g -A -n lockmgr jsr:@lockmgr/lockmgr/cli
 * lockmgr run nightly -n -- ./backup.sh
 * ```
 *
 * @module
 */
import { realpathSync } from "node:fs";
import process from "node:process";
import { execute, main } from "./cli/main.ts";
import { filterWarnings } from "./cli/output.ts";
import { Stopping } from "./cli/running/stopping.ts";

export { main };

/** Whether this file is the program: Node before 22.18 and 24.2 has no `import.meta.main`. */
function isProgram(): boolean {
  const { main, filename } = import.meta as { main?: boolean; filename?: string };
  if (main !== undefined) return main;
  return process.argv[1] !== undefined && realpathSync(process.argv[1]) === filename;
}

if (isProgram()) {
  filterWarnings();
  // A signal that comes after the outcome must not end the process: its caller would take a lock that stays for none.
  process.exit(await execute(process.argv.slice(2), new Stopping()));
}
