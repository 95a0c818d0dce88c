/**
 * Programs in TypeScript, compiled by the oldest compiler that is served, by those that many people have and by the
 * newest, under six configurations; what they emit runs.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { makeProject, runTool } from "./projects.ts";

/** Each line marked as an error must be one. */
const PROGRAM = `
import { connect, getLock, type Lock, LockMgr, type LockOptions, setLock, tryLock, withLock } from "@lockmgr/lockmgr";
import { conformance } from "@lockmgr/lockmgr/conformance";
import { mysqlBackend, type MysqlOptions, UserLock } from "@lockmgr/lockmgr/mysql";
import { advisoryLock, postgresBackend, type PostgresOptions } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend, type SqliteOptions } from "@lockmgr/lockmgr/sqlite";
import { lockManager } from "@lockmgr/lockmgr/web-locks";

const options: LockOptions = { expires: 30, wait: 5, metadata: { shard: 1 } };
const engine: SqliteOptions = { table: "my_locks" };
export const servers: [PostgresOptions, MysqlOptions] = [{ mode: "hybrid" }, { mode: "session" }];
export const others = [advisoryLock, conformance, mysqlBackend, postgresBackend, UserLock];
export async function main(): Promise<void> {
  await using backend = await sqliteBackend(":memory:", engine);
  const lock: Lock = await getLock("jobs", { ...options, backend });
  const token: bigint = lock.token;
  const maybe: Lock | undefined = await tryLock("jobs", { backend });
  const answer: number = await withLock("more", { ...options, backend }, async (held) => held.held ? 1 : 2);
  const { counts } = await setLock(["a", "b"], { fail: true, backend });
  const created: number = counts.created;
  const mode: string | undefined = await lockManager(backend).request("web", async (held) => held?.mode);
  await using manager = await LockMgr.acquire("main", { backend });
  if (!lock.held || lock.signal.aborted || token <= 0n || maybe || mode !== "exclusive" || answer !== 1 || created !== 2 || !manager.mainLock) {
    throw new Error("Cannot go on");
  }
}
declare function send(text: string, parameters: unknown[]): Promise<{ rows: unknown[] }>; // as of Kysely
export async function functions(lock: Lock): Promise<void> {
  await lock.guard((text, parameters) => send(text, parameters));
  await postgresBackend((text, parameters) => send(text, parameters));
  await mysqlBackend((sql, parameters) => send(sql, parameters));
}
export async function wrong(): Promise<void> {
  // @ts-expect-error -- no such option
  await getLock("jobs", { expire: 30 });
  // @ts-expect-error -- a name is a string
  await getLock(7);
  // @ts-expect-error -- not among the modes
  await connect("sqlite::memory:", { mode: "leases" });
}
main();
`;

const NODE = `
import type { Backend, Lock } from "@lockmgr/lockmgr";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import { lockManager } from "@lockmgr/lockmgr/web-locks";
import { DatabaseSync } from "node:sqlite";

export const locks = (backend: Backend): globalThis.LockManager => lockManager(backend);
export const guarded = (lock: Lock) => lock.guard(new DatabaseSync(":memory:"));
export const backend = () => sqliteBackend(new DatabaseSync(":memory:"));
`;

/** A program that loads the package by "require", which compilers allow since 5.8; before, it is imported. */
const COMMON = `
import lockmgr = require("@lockmgr/lockmgr");
import sqlite = require("@lockmgr/lockmgr/sqlite");
async function main(): Promise<void> {
  const backend = await sqlite.sqliteBackend(":memory:");
  const lock: lockmgr.Lock = await lockmgr.getLock("jobs", { backend });
  if (!await lock.unlock()) throw new Error("Cannot go on");
}
main();
`;
const COMMON_BEFORE = COMMON.replace(/import (\w+) = require\(([^)]*)\)/g, "const $1p = import($2)")
  .replaceAll("await sqlite.", "await (await sqlitep).").replaceAll("await lockmgr.", "await (await lockmgrp).")
  .replace(": lockmgr.Lock", "");

const BARE = { lib: ["es2022"], types: [] as string[] };
const CONFIGURATIONS = {
  node16: { module: "node16", ...BARE },
  nodenext: { module: "nodenext", ...BARE },
  bundler: { module: "esnext", moduleResolution: "bundler", ...BARE },
  commonjs: { module: "nodenext", ...BARE },
  strictest: {
    module: "nodenext",
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    verbatimModuleSyntax: true,
    isolatedModules: true,
    ...BARE,
  },
};

/** @param withNode Whether to compile with the library "dom" and `@types/node` too, which takes older compilers 6 s. */
async function compile(version: string, withNode: boolean): Promise<void> {
  const older = version < "5.8";
  const files: Record<string, string> = {
    "package.json": `{ "type": "module" }`,
    "program.ts": PROGRAM,
    "node.ts": NODE,
    "common.cts": older ? COMMON_BEFORE : COMMON,
    "out/node10/package.json": `{ "type": "commonjs" }`,
  };
  const configurations = {
    ...CONFIGURATIONS,
    ...(version < "6" ? { node10: { module: "commonjs", moduleResolution: "node10", ...BARE } } : {}), // not in later ones
    ...(withNode ? { nodenext: { module: "nodenext", types: ["node"] } } : {}),
  };
  for (const [name, options] of Object.entries(configurations)) {
    const compilerOptions = {
      strict: true,
      skipLibCheck: false,
      target: "es2022",
      rootDir: ".",
      outDir: `out/${name}`,
    };
    files[`${name}.json`] = JSON.stringify({
      compilerOptions: { ...compilerOptions, ...options },
      files: name === "commonjs" ? ["common.cts"] : ["program.ts", ...options.types.map((types) => `${types}.ts`)],
    });
  }
  const project = await makeProject(`typescript ${version}`, files);
  await runTool(project, `typescript-${version}`, [
    "--build",
    ...Object.keys(configurations).map((name) => `${name}.json`),
  ]);
  const programs = ["nodenext/program.js", "commonjs/common.cjs"];
  if ("node10" in configurations) programs.push("node10/program.js");
  for (const file of programs) {
    const { code, output } = await command(process.execPath, [join(project, "out", file)]);
    assert.equal(code, 0, `${file} of ${version}: ${output}`);
    assert.equal(output, "", `${file} of ${version}`);
  }
}

for (const [version, withNode] of [["5.4", true], ["5.9", false], ["6.0", false], ["7.0", true]] as const) {
  test(`TypeScript ${version} compiles programs under every configuration, and they run`, () =>
    compile(version, withNode));
}
