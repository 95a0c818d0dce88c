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
import process from "node:process";
import { main } from "./cli/main.ts";
import { endWithReader, flushed } from "./cli/output.ts";

export { main };

if (import.meta.main) {
  endWithReader();
  const exitCode = await main(process.argv.slice(2));
  await flushed();
  process.exit(exitCode);
}
