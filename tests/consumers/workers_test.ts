/**
 * A program for Cloudflare's workers, run by their runtime workerd: it sends statements through a function.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { makeProject, runTool } from "./projects.ts";

const FILES = {
  "worker.js": `
    import { getLock, tryLock } from "@lockmgr/lockmgr";
    import { postgresBackend } from "@lockmgr/lockmgr/postgres";

    export default {
      async fetch(_request, { DATABASE }) {
        const send = async (text, parameters) => {
          const body = JSON.stringify({ text, parameters });
          return await (await DATABASE.fetch("http://database/", { method: "POST", body })).json();
        };
        const backend = await postgresBackend(send);
        const lock = await getLock("jobs", { backend });
        const busy = await tryLock("jobs", { backend }) === undefined;
        const answer = [busy, await lock.verify(), await lock.unlock()];
        await backend[Symbol.asyncDispose]();
        return Response.json(answer);
      },
    };`,
  "run.mjs": `
    import { Miniflare, Response } from "miniflare";
    import pg from "pg";

    const pool = new pg.Pool({ connectionString: process.argv[2] });
    const miniflare = new Miniflare({
      modules: [{ type: "ESModule", path: "out/worker.js" }],
      compatibilityDate: "2026-04-01",
      compatibilityFlags: ["nodejs_compat"],
      serviceBindings: {
        async DATABASE(request) {
          const { text, parameters } = await request.json();
          return Response.json((await pool.query(text, parameters)).rows);
        },
      },
    });
    try {
      console.log(await (await miniflare.dispatchFetch("http://worker/")).text());
    } finally {
      await miniflare.dispose();
      await pool.end();
    }`,
};

test("a worker of Cloudflare locks through a function", async () => {
  await using postgres = await PostgresServer.start();
  const project = await makeProject("worker", FILES);
  const external = ["node:*", "mysql2", "postgres"].map((name) => `--external:${name}`); // never loaded by the worker
  await runTool(project, "esbuild", ["worker.js", "--bundle", "--format=esm", "--outfile=out/worker.js", ...external]);
  const { code, stdout, output } = await command(process.execPath, ["run.mjs", postgres.url], { cwd: project });
  assert.equal(code, 0, output);
  assert.equal(stdout, "[true,true,true]\n");
});
