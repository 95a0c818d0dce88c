import { type AcquireRequest, connect, getLock, type Lock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { sessionKey, sessionKeyOf } from "../../backends/postgres/keys.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** Requests of one owner for several names. */
function requestsFor(names: readonly string[], owner = "me"): AcquireRequest[] {
  const rest = { duration: null, lockedBy: "x", lockProcess: null, metadata: null, limit: 1 };
  return names.map((name) => ({ name, owner, ...rest }));
}

/** So many names. */
function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `name ${index}`);
}

/** How many connections have exclusive locks of ours, and how many locks. */
async function held(): Promise<[connections: number, locks: number]> {
  await using sql = administrator();
  const [row] = await sql`
    SELECT count(DISTINCT pid)::int AS connections, count(*)::int AS locks
    FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'`;
  return [row.connections, row.locks];
}

test("session: the server and this process compute the same key of a name", async () => {
  await using sql = administrator();
  const names = [
    "a",
    "A",
    " a",
    "a ",
    "it's",
    "\\",
    "ä",
    "a\u0308",
    "\u{1f512}",
    "\uffff",
    "\n",
    "{,}",
    "x".repeat(255),
  ];
  for (const namespace of ["lockmgr_locks", "other.locks"]) {
    const asked = await sql.unsafe(
      `SELECT ${sessionKeyOf(namespace, "name")}::text AS key FROM json_array_elements_text($1::text::json) AS name`,
      [JSON.stringify(names)],
    );
    assert.deepEqual(names.map((name) => sessionKey(namespace, name)), asked.map(({ key }) => key));
  }
  assert(Array.from("abcdefgh").some((name) => sessionKey("x", name).startsWith("-")));
});

test("session: the token of a batch exceeds every token drawn while it was acquired", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { mode: "session", table });
  await using other = await connect(server.url, { mode: "session", table });
  const names = [...Array.from({ length: 499 }, (_, index) => `name ${index}`), "contended"];
  const tokens: bigint[] = []; // of the last name, in the order in which it was had
  let over = false;
  const one = async () => {
    while (!over) {
      const lock = await tryLock("contended", { backend: other });
      if (lock) tokens.push(lock.token);
      await lock?.unlock();
    }
  };
  const crowd = async () => {
    for (let round = 0; round < 100; round++) {
      const requests = requestsFor(names, String(round));
      const answers = await backend.acquire(requests);
      const last = answers.at(-1)!;
      if (last.granted) tokens.push(last.row.token);
      const granted = requests.filter((_, index) => answers[index].granted);
      assert.deepEqual(await backend.release(granted), granted.map(() => true));
    }
    over = true;
  };
  await Promise.all([one(), crowd()]);
  tokens.forEach((token, index) => assert(index === 0 || token > tokens[index - 1], `${tokens}`));
});

test("session: a batch is spread over connections, and one that is too large acquires nothing", async () => {
  await using backend = await connect(server.url, { mode: "session", table: freshTable() });
  const many = requestsFor(numbered(1_200));
  const answers = await backend.acquire(many);
  assert(answers.every(({ granted }) => granted));
  assert.deepEqual(answers.map((answer) => answer.granted && answer.row.name), many.map(({ name }) => name));
  assert.deepEqual(await held(), [3, 1_200]);
  const more = requestsFor(numbered(4_001).map((name) => `further ${name}`));
  await assert.rejects(backend.acquire(more), { name: "BackendError", message: /4000 session locks are held/ });
  assert.deepEqual(await held(), [3, 1_200]);
  const mixed = [...more.slice(0, 2), many[0], more[3], { ...many[1], owner: "you" }, more[0]];
  const some = await backend.acquire(mixed);
  assert.deepEqual(some.map(({ granted }) => granted), [true, true, true, true, false, true]);
  assert.deepEqual(
    some.map((answer) => answer.granted ? answer.row.name : answer.holder?.name),
    mixed.map(({ name }) => name),
  );
  const targets = [...many, more[0], more[1], more[3], more[4], { ...many[0], owner: "you" }];
  const released = await backend.release(targets);
  assert.deepEqual(released, targets.map((_, index) => index < 1_203));
  assert.deepEqual(await held(), [0, 0]);
});

test("session: a batch of releases notifies the waiters of its names and no others", async () => {
  await using sql = administrator();
  const heard: string[] = [];
  await sql.listen("lockmgr", (payload) => heard.push(payload));
  const table = freshTable();
  await using backend = await connect(server.url, { mode: "session", table });
  await using other = await connect(server.url, { mode: "session", table });
  const requests = requestsFor(numbered(40));
  const round = async (mark: string, before: () => Promise<void> = () => Promise.resolve()) => {
    assert((await backend.acquire(requests)).every(({ granted }) => granted));
    await before();
    assert((await backend.release(requests)).every((released) => released));
    await sql.notify("lockmgr", mark);
    await until(mark, () => heard.includes(mark));
  };
  await round("no waiter");
  assert.deepEqual(heard, ["no waiter"]);
  let waiting: Promise<Lock>[] = [];
  await round("a waiter", async () => {
    const announced = async () => {
      const [{ count }] =
        await sql`SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND pid <> pg_backend_pid()`;
      return count === 3; // the two names, and the key of all waiters
    };
    waiting = ["name 3", "name 7"].map((name) => getLock(name, { backend: other, wait: 10 }));
    await until("two waits are registered", announced);
  });
  for (const lock of await Promise.all(waiting)) await lock.unlock();
  assert.equal(new Set(heard).size, 4, `heard ${heard}`); // two marks, two names
  await round("no waiter again");
  assert.equal(heard.at(-1), "no waiter again");
  assert.equal(new Set(heard).size, 5, `heard ${heard}`);
});
