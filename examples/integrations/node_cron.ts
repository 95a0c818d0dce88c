/**
 * Runs a task of node-cron once for each time that it is due, whatever number of hosts runs this program.
 *
 *     LOCKMGR_URL=postgres://… deno run -A examples/integrations/node_cron.ts
 *
 * @module
 */
import { tryLock } from "@lockmgr/lockmgr";
import { type RunCoordinator, schedule, shutdown } from "node-cron";
import process from "node:process";

/** The key names the task and the time. Its lock is not released, so a host with a late clock does not run it again. */
const runCoordinator: RunCoordinator = {
  shouldRun: async (key, ttlMs) => await tryLock(key, { expires: ttlMs / 1e3 }) !== undefined,
};

schedule("* * * * * *", ({ date }) => console.log(`ran ${date.toISOString()}`), {
  name: "report",
  distributed: true,
  runCoordinator,
});
process.once("SIGTERM", () => void shutdown());
