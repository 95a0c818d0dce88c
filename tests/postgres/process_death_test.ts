import { connect, getLock, type Mode, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { freshTable, server } from "./server.ts";

/** Starts a process that holds a lock, on the runtime at hand. */
async function hold(mode: Mode, table: string, name: string, expires = 600): Promise<ChildProcess> {
  const { Deno } = globalThis as { Deno?: unknown };
  const script = fileURLToPath(new URL("./holder.ts", import.meta.url));
  const flags = Deno ? ["run", "-A"] : process.execArgv.filter((flag) => !flag.startsWith("--test"));
  const parameters = [...flags, script, server.url, mode, table, name, String(expires)];
  const child = spawn(process.execPath, parameters, { stdio: ["pipe", "pipe", "inherit"] });
  await new Promise<void>((resolve, reject) => {
    child.stdout!.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`The holder ended with exit ${code}`)));
  });
  return child;
}

/** Ends a process at once and waits until it has. */
async function kill(child: ChildProcess): Promise<void> {
  child.removeAllListeners("exit");
  const ended = once(child, "close");
  child.kill("SIGKILL");
  await ended;
}

test("lease: a dead holder's name is free when the lease expires", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  const child = await hold("lease", table, "a", 4);
  await kill(child);
  assert.equal(await tryLock("a", { backend }), undefined);
  await using _lock = await getLock("a", { backend, wait: 10 });
});

for (const taker of ["lease", "hybrid"] as const) {
  const holder = taker === "lease" ? "hybrid" : "lease";
  test(`${holder} excludes ${taker} on one table, and is freed for it`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode: holder, table });
    await using other = await connect(server.url, { mode: taker, table });
    const lock = await getLock("a", { backend });
    assert.equal(await tryLock("a", { backend: other }), undefined);
    const waiting = later(getLock("a", { backend: other, wait: 10 }));
    await lock.unlock();
    await (await waiting).unlock();
  });
}

test("lease takes over a hybrid lock whose holder was killed", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  const child = await hold("hybrid", table, "a");
  assert.equal(await tryLock("a", { backend }), undefined);
  const waiting = later(getLock("a", { backend, wait: 10 }));
  await kill(child);
  await (await waiting).unlock();
});
