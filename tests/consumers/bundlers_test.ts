/**
 * A program that says only `connect(url)`, made one file by a bundler: the engine and its driver are in it. One is
 * minified, where errors and locks keep their names.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { startMysql } from "../servers/mysql.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { makeProject, runTool } from "./projects.ts";

const FILES = {
  "program.js": `
    import { connect, getLock } from "@lockmgr/lockmgr";
    import { inspect } from "node:util";
    const name = "jobs of " + process.pid; // bundles run at the same time
    async function main() {
      for (const url of process.argv.slice(2)) {
        const backend = await connect(url);
        const lock = await getLock(name, { backend });
        const error = await getLock(name, { backend }).catch((error) => error);
        console.log(backend.engine, inspect(lock).split(" ")[0], error.name, await lock.verify(), await lock.unlock());
        await backend[Symbol.asyncDispose]();
      }
    }
    main();`,
  "webpack.config.cjs": `module.exports = {
    mode: "production", target: "node22", entry: "./program.js",
    optimization: { minimize: false }, // it takes longer than all else
    output: { path: __dirname + "/out", filename: "program.cjs" },
  };`,
  "vite.config.mjs": `export default {
    ssr: { noExternal: true },
    build: { ssr: "program.js", outDir: "out", rolldownOptions: { output: { entryFileNames: "[name].mjs" } } },
  };`,
};

/** How each bundler makes "out/program", by its tool and the parameters. */
const bundlers: Readonly<Record<string, readonly string[]>> = {
  "program.cjs by esbuild": ["esbuild", "program.js", "--bundle", "--minify", "--platform=node"]
    .concat("--outfile=out/program.cjs"),
  "program.mjs by rollup": ["rollup", "program.js", "--dir=out", "--entryFileNames=[name].mjs"]
    .concat(["--silent", ...["node-resolve", "commonjs", "json"].map((plugin) => `--plugin=${plugin}`)]),
  "program.mjs by rolldown": ["rolldown", "program.js", "--platform=node", "--dir=out", "--entryFileNames=[name].mjs"],
  "program.mjs by bun": ["bun", "build", "program.js", "--target=node", "--outfile=out/program.mjs"],
  "program.cjs by webpack": ["webpack"],
  "program.mjs by vite": ["vite", "build", "--logLevel=warn"],
};

test("bundles of a program that only connects work on every engine", async () => {
  await using postgres = await PostgresServer.start();
  await using mysql = await startMysql();
  const urls = ["sqlite::memory:", postgres.url, mysql.url];
  const run = async (bundle: string, [tool, ...parameters]: readonly string[]) => {
    const project = await makeProject(`bundle ${tool}`, FILES);
    assert.doesNotMatch(await runTool(project, tool, parameters), /\bwarn/i, bundle);
    const away = await mkdtemp(join(tmpdir(), "lockmgr-bundle-")); // where no package is found
    try {
      await rename(join(project, "out"), join(away, "out"));
      const file = join(away, "out", bundle.split(" ")[0]);
      const { code, stdout, output } = await command(process.execPath, ["--no-warnings", file, ...urls]);
      assert.equal(code, 0, `${bundle}: ${output}`);
      assert.equal(
        stdout,
        ["sqlite", "postgres", "mysql"].map((engine) => `${engine} Lock Locked true true\n`).join(""),
        bundle,
      );
    } finally {
      await rm(away, { recursive: true });
    }
  };
  await Promise.all(Object.entries(bundlers).map(([bundle, parameters]) => run(bundle, parameters)));
});
