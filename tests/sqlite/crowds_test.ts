import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { place } from "./place.ts";

const NAMES = Array.from({ length: 50 }, (_, index) => `job ${index}`);

test("sqlite: the tokens of a crowd rise above those in the table, however large they are", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  const crowd = async () => {
    const locks = await Promise.all(NAMES.map((name) => getLock(name, { backend })));
    await Promise.all(locks.map((lock) => lock.unlock()));
    return locks.map(({ token }) => token);
  };
  await crowd();
  using database = new DatabaseSync(somewhere.path);
  const anHourAhead = BigInt(Date.now() + 3_600_000) * 1_000n;
  for (const ahead of [anHourAhead, 2n ** 53n - 1n, 2n ** 60n]) {
    database.prepare("UPDATE lockmgr_locks SET token = ? WHERE name = ?").run(ahead, NAMES[7]);
    let before = NAMES.map((_, index) => index === 7 ? ahead : 0n);
    for (let round = 0; round < 4; round++) {
      const tokens = await crowd();
      tokens.forEach((token, index) => assert(token > before[index], `${token} of ${NAMES[index]} did not rise`));
      before = tokens;
    }
  }
});

test("sqlite: a crowd that comes again within the same millisecond gets higher tokens", async () => {
  await using backend = await connect("sqlite::memory:");
  let before = new Map<string, bigint>();
  for (let round = 0; round < 50; round++) {
    const locks = await Promise.all(["a", "b", "c"].map((name) => getLock(name, { backend })));
    for (const { name, token } of locks) assert(token > (before.get(name) ?? 0n));
    before = new Map(locks.map(({ name, token }) => [name, token]));
    await Promise.all(locks.map((lock) => lock.unlock()));
  }
});

test("sqlite: a name that is asked for twice in one batch is granted once", async () => {
  await using backend = await connect("sqlite::memory:");
  const request = { duration: 60e6, lockedBy: "host-a", lockProcess: null, metadata: null, limit: 1 };
  const wanted = ["a", "b", "a"].map((name, index) => ({ ...request, name, owner: `owner ${index}` }));
  const answers = await backend.acquire(wanted);
  assert.deepEqual(answers.map(({ granted }) => granted), [true, true, false]);
  assert.deepEqual(await backend.release(wanted.map(({ name, owner }) => ({ name, owner }))), [true, true, false]);
  assert.deepEqual(await backend.list({}), []);
});

test("sqlite: a crowd that had all before leaves alone what another took meanwhile, and takes what has lapsed", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await using other = await connect(somewhere.path);
  const crowd = () => Promise.all(NAMES.map((name) => tryLock(name, { backend })));
  await Promise.all((await crowd()).map((lock) => lock!.unlock()));
  const held = await getLock(NAMES[3], { backend: other, expires: 0 });
  const lapsing = await getLock(NAMES[9], { backend: other, expires: 0.01 });
  while (lapsing.held || Date.now() <= lapsing.lockedUntil!.getTime()) await new Promise((pass) => setTimeout(pass, 1));
  const locks = await crowd();
  assert.deepEqual(locks.flatMap((lock, index) => lock ? [] : [index]), [3]);
  assert(locks[9]!.token > lapsing.token);
  assert(await held.verify());
  assert.equal(await lapsing.unlock(), false);
  assert((await Promise.all(locks.map((lock) => lock?.unlock()))).every((released) => released !== false));
});
