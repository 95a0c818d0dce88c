import { type Backend, cleanLocks, getLock } from "@lockmgr/lockmgr";
import { conformance } from "@lockmgr/lockmgr/conformance";
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { areServedInOrder } from "./cases/queueing.ts";
import { type Database, engines, registrations } from "./backends.ts";
import type { Table } from "./tables.ts";

const DAY = 86_400; // seconds
const MINUTE = 60;

/** Acquires locks and returns their tokens by name. */
async function tokensOf(names: readonly string[], backend: Backend, kept = ""): Promise<Record<string, bigint>> {
  const tokens: Record<string, bigint> = {};
  for (const name of names) {
    const lock = await getLock(name, { backend });
    tokens[name] = lock.token;
    if (name !== kept) await lock.unlock();
  }
  return tokens;
}

/** Tests that clean-up deletes the rows of names that were released long ago, and no others. */
async function testReleasedNames({ name: table, ask, earlier }: Table, open: Database["open"]): Promise<void> {
  await using backend = await open();
  await using another = await open();
  const names = ["ahead", "held", "old", "older", "young"];
  const first = await tokensOf(names, backend, "held");
  const set = (assignment: string, condition: string) =>
    ask(`UPDATE ${table} SET ${assignment} WHERE name ${condition}`);
  await set(`updated_at = ${earlier(DAY + MINUTE)}`, "<> 'young'");
  await set(`updated_at = ${earlier(DAY - MINUTE)}`, "= 'young'");
  await set(`token = token + ${10 * DAY * 1e6}`, "= 'ahead'"); // the server's clock was ahead, and was set back
  assert.equal(await cleanLocks({ backend }), 0);
  const left = await ask(`SELECT name FROM ${table} ORDER BY name`);
  assert.deepEqual(left.map(({ name }) => String(name)), ["ahead", "held", "young"]);
  first.ahead += BigInt(10 * DAY * 1e6);
  for (const [names, client] of [[["ahead", "old", "young"], backend], [["older"], another]] as const) {
    for (const [name, token] of Object.entries(await tokensOf(names, client))) assert(token > first[name], name);
  }
}

for (const { name: backend, mode, create } of registrations) {
  const rows = mode !== "session";
  let database: Database; // each case has one of its own
  conformance({
    supports: { mode, queueing: rows, keeping: rows, adopting: mode === "lease" },
    open: () => database.open(),
    test: (name, body) =>
      test(`${backend}: ${name}`, async () => {
        database = await create();
        try {
          await body();
        } finally {
          await database[Symbol.asyncDispose]();
        }
      }),
  });
  if (!rows) continue;
  test(`${backend}: callers are served in the order in which they came, however many by one client`, async () => {
    await using database = await create();
    await using backend = await database.open();
    await using one = await database.open();
    await using other = await database.open();
    await areServedInOrder(backend, [one, one, other, one, other, other, one]);
  });
  test(`${backend}: clean-up deletes names released more than a day ago, and their tokens increase`, async () => {
    await using database = await create();
    await testReleasedNames(database.table, () => database.open());
  });
}

/** The tests that django-lockmgr's manual lists, 6 of the functions, 4 of the class and 10 of renewals. */
const PREDECESSOR = `getlock_clean getlock_unlock is_locked lock_expiry lock_no_expiry lock_zero_expiry
  lock_wait lock_wait_timeout lockmgr lockmgr_except
  lockmgr_renew_expired lockmgr_renew_main renew_existing_name renew_existing_name_add_time
  renew_existing_object_add_time renew_lock_object renew_non_existing_name renew_non_existing_name_create
  renew_shorter_expiration renew_shorter_expiration_add_time`.split(/\s+/);

test("every test of django-lockmgr's manual has a case of its name", () => {
  const names: string[] = [];
  const open = () => Promise.reject(new Error("nothing is opened"));
  conformance({ test: (name) => names.push(name), open });
  const cited = new Set(names.flatMap((name) => name.match(/\btest_\w+/g) ?? []));
  assert.deepEqual([...cited].sort(), PREDECESSOR.map((name) => `test_${name}`).sort());
});

test("every backend is registered for the conformance suite", async () => {
  const folders = await readdir(new URL("../../backends/", import.meta.url));
  const shared = ["sessions", "shared"]; // what several engines are made of
  assert.deepEqual(Object.keys(engines).sort(), folders.filter((folder) => !shared.includes(folder)).sort());
});
