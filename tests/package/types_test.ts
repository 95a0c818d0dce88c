import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { packageName } from "./installed.ts";

/** A program as somebody with TypeScript writes it. Each line marked as an error must be one. */
const PROGRAM = `
import { connect, getLock, type Lock, LockMgr, type LockOptions, setLock, tryLock, withLock } from "${packageName}";
import { sqliteBackend, type SqliteOptions } from "${packageName}/sqlite";
import { mysqlBackend } from "${packageName}/mysql";
import { postgresBackend } from "${packageName}/postgres";
import { DatabaseSync } from "node:sqlite";

const options: LockOptions = { expires: 30, wait: 5, metadata: { shard: 1 } };
const engine: SqliteOptions = { table: "my_locks" };
const backend = await sqliteBackend(new DatabaseSync(":memory:"), engine);
const lock: Lock = await getLock("jobs", { ...options, backend });
const token: bigint = lock.token;
const maybe: Lock | undefined = await tryLock("jobs");
const answer: number = await withLock("jobs", options, async (held) => held.held ? 1 : 2);
const { counts } = await setLock(["a", "b"], { fail: true });
const created: number = counts.created;
const mgr = new LockMgr("jobs");
console.log(token, maybe, answer, created, mgr, await connect());
declare function send(text: string, parameters: unknown[]): Promise<{ rows: unknown[] }>; // as of Kysely
await lock.guard((text, parameters) => send(text, parameters));
await lock.guard(new DatabaseSync(":memory:"));
await postgresBackend((text, parameters) => send(text, parameters));
await mysqlBackend((sql, parameters) => send(sql, parameters));
// @ts-expect-error -- no such option
await getLock("jobs", { expire: 30 });
// @ts-expect-error -- a name is a string
await getLock(7);
`;

const CONFIGURATION = {
  compilerOptions: {
    module: "nodenext",
    target: "es2023",
    lib: ["es2023", "esnext.disposable", "dom"],
    types: ["node"],
    strict: true,
    noEmit: true,
    skipLibCheck: false,
  },
  files: ["consumer.ts"],
};

// The compiler is the same on every runtime; Node, for which it is written, runs it.
if (!("Bun" in globalThis)) {
  test("a strict TypeScript program compiles against the declarations", async () => {
    await writeFile("consumer.ts", PROGRAM);
    await writeFile("tsconfig.json", JSON.stringify(CONFIGURATION));
    const compiler = join("node_modules", "typescript", "bin", "tsc");
    const { code, output } = await command(process.execPath, [compiler, "--project", "tsconfig.json"]);
    assert.equal(code, 0, output);
  });
}
