import assert from "node:assert/strict";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";

if (process.platform !== "win32") {
  test("installed with -g, the command says how to install a driver, and finds one installed so", async () => {
    const prefix = await mkdtemp(join(tmpdir(), "lockmgr-global-"));
    try {
      const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", prefix];
      const tarball = join(process.cwd(), "lockmgr.tgz");
      const installed = await command("npm", ["install", "-g", ...flags, tarball], { cwd: prefix });
      assert.equal(installed.code, 0, installed.output);
      const program = join(prefix, "bin", "lockmgr");
      for (const [scheme, driver] of [["postgres", "postgres"], ["mysql", "mysql2"]]) {
        const list = () => command(process.execPath, [program, "list", "--url", `${scheme}://127.0.0.1:1/db`]);
        const without = await list();
        assert.equal(without.code, 1, without.output);
        assert.match(without.output, new RegExp(`"npm install -g ${driver}"`));
        // What "npm install -g" puts there, without the network.
        await symlink(join(process.cwd(), "node_modules", driver), join(prefix, "lib", "node_modules", driver));
        const refused = await list();
        assert.equal(refused.code, 1, refused.output);
        assert.match(refused.output, /ECONNREFUSED|127\.0\.0\.1:1/);
        assert.doesNotMatch(refused.output, /npm install/);
      }
    } finally {
      await rm(prefix, { recursive: true, force: true });
    }
  });
}
