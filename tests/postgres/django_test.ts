import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import { type Backend, connect } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { test } from "../harness.ts";
import { takeFairly, takeTurns, type Turn, TURNS_SECONDS } from "../processes/turns.ts";
import { startDjango } from "../servers/django.ts";
import { administrator, freshTable, server, until } from "./server.ts";

function open(): Promise<Backend> {
  return connect(server.url, { table: freshTable() });
}

/** A Django program that takes an advisory lock as django-pglocks 1 does, until its input ends, or turns for a while. */
async function django(
  id: unknown,
  wait: boolean,
  shared = false,
  seconds = 0,
): Promise<{ said: () => string; tell: (line: string) => void; end: () => Promise<void> }> {
  const script = fileURLToPath(new URL("./django_program.py", import.meta.url));
  const child = await startDjango(script, [JSON.stringify([server.port, id, wait, shared, seconds])]);
  let output = "";
  child.stdout!.on("data", (chunk) => output += chunk);
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const end = () => (child.stdin!.end(), ended);
  return { said: () => output, tell: (line) => void child.stdin!.write(`${line}\n`), end };
}

/** Ids of each kind that Django programs use: texts whose CRC-32 is positive and negative, a number, two numbers. */
const DJANGO_IDS = ["hello", "some lock, ünïcode", 4_815, [16, -23] as [number, number]];

test("advisoryLock: a Django program and this one exclude each other under key crc32", async () => {
  await using backend = await open();
  const signs = await Promise.all(["hello", "some lock, ünïcode"].map(async (id) => {
    await using lock = await advisoryLock(backend, id, { key: "crc32" });
    return (lock.key as bigint) > 0n;
  }));
  assert.deepEqual(signs.sort(), [false, true]);
  await Promise.all(
    DJANGO_IDS.slice(1, 3).map(async (id) => {
      const holder = await django(id, true);
      await until("the Django program holds the lock", () => holder.said().includes("acquired"), 60);
      assert.equal((await advisoryLock(backend, id, { key: "crc32", wait: false })).acquired, false);
      const waiting = advisoryLock(backend, id, { key: "crc32", timeout: 60 });
      await holder.end();
      const lock = await waiting;
      const refused = await django(id, false);
      await until("the Django program was refused", () => refused.said().includes("busy"), 60);
      await refused.end();
      assert.equal(await lock.release(), true);
    }),
  );
});

test("advisoryLock: a Django program waits for this one, and shares with it", async () => {
  await using backend = await open();
  const name = "some lock, ünïcode";
  assert.equal((await advisoryLock(backend, name, { wait: false })).acquired, true); // another key
  const lock = await advisoryLock(backend, name, { key: "crc32" });
  const next = await django(name, true, true);
  await until("the Django program waits", async () => {
    await using sql = administrator();
    return (await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).length > 0;
  }, 60);
  assert.equal(await lock.release(), true);
  await until("the Django program is next", () => next.said().includes("acquired"), 60);
  await using shared = await advisoryLock(backend, name, { key: "crc32", shared: true, wait: false });
  assert.equal(shared.acquired, true);
  assert.equal((await advisoryLock(backend, name, { key: "crc32", wait: false })).acquired, false);
  await next.end();
});

test("advisoryLock: takes a fair share of the turns beside two Django programs, without overlap", async () => {
  await using backend = await open();
  const programs = await Promise.all([0, 1].map(() => django(DJANGO_IDS, true, false, TURNS_SECONDS)));
  await until("the programs are ready", () => programs.every(({ said }) => said().includes("ready\n")), 60);
  const turns = takeFairly((startAt) => {
    const acquire = (place: number) => advisoryLock(backend, DJANGO_IDS[place], { key: "crc32" });
    const theirs = programs.map(async ({ said, tell }): Promise<Turn[]> => {
      const before = said().length;
      tell(String(startAt));
      await until("the program has taken its turns", () => said().slice(before).endsWith("\n"), 60);
      return JSON.parse(said().slice(before));
    });
    return [takeTurns(DJANGO_IDS.length, startAt, acquire), ...theirs];
  });
  await turns.finally(() => Promise.all(programs.map(({ end }) => end())));
});
