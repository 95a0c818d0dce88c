/**
 * Programs that only connect, under Deno: with the permissions that the README names, and compiled.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { startMysql } from "../servers/mysql.ts";
import { PostgresServer } from "../servers/postgres.ts";

const LIBRARY = new URL("../../mod.ts", import.meta.url).href;
/** It resolves the names of drivers, as the registry does in what is imported from there. */
const CONFIGURATION = fileURLToPath(new URL("../../deno.json", import.meta.url));
const FLAGS = ["--quiet", "--no-check", "--config", CONFIGURATION];
/** What `deno compile` says when it cannot fetch the runtime of compiled programs, which npm does not have. */
const NO_RUNTIME = /dl\.deno\.land/;

const PROGRAM = `
import { connect, getLock } from ${JSON.stringify(LIBRARY)};
const backend = await connect(Deno.args[0]);
const lock = await getLock("jobs", { backend });
console.log(backend.engine, await lock.verify(), await lock.unlock());
await backend[Symbol.asyncDispose]();
`;

/** Whether a program can be compiled here; the folder is not used again. */
async function canCompile(): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-compile-"));
  try {
    const file = join(directory, "empty.ts");
    await writeFile(file, "export {};\n");
    const { code, output } = await command(process.execPath, ["compile", "--no-config", "-o", `${file}.bin`, file]);
    return code === 0 || !NO_RUNTIME.test(output);
  } finally {
    await rm(directory, { recursive: true });
  }
}

const compiling = await canCompile();

/** Registers the tests of the program on one engine: run with these permissions, and compiled with them. */
function onEngine(engine: string, open: (directory: string) => Promise<Database>): void {
  const inFolder = (name: string, commandFor: (file: string, permissions: string[]) => Promise<string[]>) =>
    test(name, async () => {
      const directory = await mkdtemp(join(tmpdir(), "lockmgr-program-"));
      await using cleanUp = new AsyncDisposableStack();
      cleanUp.defer(() => rm(directory, { recursive: true }));
      const file = join(directory, "program.ts");
      await writeFile(file, PROGRAM);
      const { url, permissions, close } = await open(directory);
      cleanUp.defer(close);
      const [first, ...parameters] = await commandFor(file, permissions);
      const { code, stdout, output } = await command(first, [...parameters, url]);
      assert.equal(code, 0, output);
      assert.equal(stdout, `${engine} true true\n`);
    });
  inFolder(
    `${engine}: a program that only connects needs the permissions that the README names`,
    (file, permissions) => Promise.resolve([process.execPath, "run", "--no-prompt", ...FLAGS, ...permissions, file]),
  );
  if (!compiling) return; // where only the registries can be reached
  inFolder(`${engine}: a compiled program that only connects works`, async (file, permissions) => {
    const program = `${file}.program`;
    const { code, output } = await command(process.execPath, [
      "compile",
      ...FLAGS,
      ...permissions,
      "-o",
      program,
      file,
    ]);
    assert.equal(code, 0, output);
    return [program];
  });
}

/** A database, and what a program may do to use it. */
interface Database {
  readonly url: string;
  readonly permissions: string[];
  close(): Promise<void>;
}

onEngine("sqlite", (directory) =>
  Promise.resolve({
    url: `sqlite:${directory}/locks.db`,
    permissions: [`--allow-read=${directory}`, `--allow-write=${directory}`],
    close: () => Promise.resolve(),
  }));

onEngine("postgres", async () => {
  const server = await PostgresServer.start();
  const permissions = [`--allow-net=127.0.0.1:${server.port}`, "--allow-env=PG*"];
  return { url: server.url, permissions, close: () => server.stop() };
});

onEngine("mysql", async () => {
  const server = await startMysql();
  return { url: server.url, permissions: [`--allow-net=127.0.0.1:${server.port}`], close: () => server.stop() };
});
