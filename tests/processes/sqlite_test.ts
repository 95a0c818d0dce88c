import { adoptLock, connect, getLock, listLocks, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { place } from "../sqlite/place.ts";
import { run, start, startEach } from "./spawn.ts";

/** What the waiter says when it has the lock. */
interface Answer {
  readonly at: number;
  readonly token: string;
  readonly share: number;
  readonly control: number;
  readonly timerShare: number;
}

/** Jain's index: 1 when all have the same, 1/n when one has everything. */
function jain(shares: number[]): number {
  const sum = shares.reduce((a, b) => a + b, 0);
  return sum ** 2 / (shares.length * shares.reduce((a, b) => a + b ** 2, 0));
}

test("processes: a lock that another process holds is busy, and free after its release", async () => {
  await using somewhere = await place();
  await using holder = start("tests/processes/holder.ts", [somewhere.path, "a"]);
  const { token } = await holder.next<{ token: string }>();
  await using backend = await connect(somewhere.path);
  await assert.rejects(getLock("a", { backend }), { name: "Locked" });
  const next = later(getLock("a", { backend, wait: 60 }));
  holder.tell("release");
  assert.equal((await holder.next<{ released: boolean }>()).released, true);
  assert((await next).token > BigInt(token));
});

for (const end of ["exit", "SIGKILL"] as const) {
  test(`processes: the lease of a holder that ends by ${end} lapses at its time, not before`, async () => {
    await using somewhere = await place();
    await using backend = await connect(somewhere.path);
    await using holder = start("tests/processes/holder.ts", [somewhere.path, "a", '{"expires":1.5}']);
    await holder.next();
    const held = async () => ({ ...(await backend.list({ includeExpired: true }))[0], now: 0 });
    const record = await held();
    if (end === "exit") holder.tell("exit");
    else holder.child.kill("SIGKILL");
    await holder.ended;
    assert.deepEqual(await held(), record);
    const next = await getLock("a", { backend, wait: 30 });
    assert(next.createdAt.getTime() * 1e3 >= record.lockedUntil!);
    assert(next.token > record.token);
  });
}

test("processes: a holder that was stopped past its lease knows that it lost it", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await using holder = start("tests/processes/holder.ts", [somewhere.path, "a", '{"expires":3,"autoRenew":true}']);
  await holder.next(); // it writes nothing for a second: stopped in a write, it would keep the file locked
  process.kill(holder.child.pid!, "SIGSTOP");
  const next = await getLock("a", { backend, wait: 30 });
  process.kill(holder.child.pid!, "SIGCONT");
  assert.deepEqual(await holder.next(), { lost: "LOCK_LOST" });
  holder.tell("state");
  assert.deepEqual(await holder.next(), { held: false, verified: false });
  holder.tell("release");
  assert.equal((await holder.next<{ released: boolean }>()).released, false);
  assert.equal(await next.verify(), true);
});

test("processes: of ten hosts whose clocks are off, one runs each job of a crontab", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  const offsets = Array.from({ length: 10 }, (_, index) => (index - 5) * 3600e3);
  const parameters = offsets.map((offset) => [somewhere.path, `${offset}`]);
  await using workers = startEach("tests/processes/cron_host.ts", parameters);
  await Promise.all(workers.map((worker) => worker.next()));
  for (let night = 0; night < 2; night++) {
    const ran: boolean[] = [];
    for (const worker of night % 2 ? workers : workers.toReversed()) { // one after the other: as far apart as clocks can be
      worker.tell("go");
      ran.push(await worker.next<boolean>());
    }
    assert.deepEqual(ran, [true, ...Array(9).fill(false)]);
    const [record] = await listLocks({ backend });
    assert.deepEqual([record.lockedBy, record.lockedUntil!.getTime() - record.createdAt.getTime()], ["", 120e3]);
    assert.equal(await unlock("nightly", { backend }), true);
    workers.forEach((worker) => worker.tell("go")); // and all at once
    const together = await Promise.all(workers.map((worker) => worker.next<boolean>()));
    assert.equal(together.filter(Boolean).length, 1);
    await unlock("nightly", { backend });
  }
});

test("processes: one of several processes adopts a lock, and none after one that was killed meanwhile", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  const parameters = ["one", "two", "three"].map((name) => [somewhere.path, name]);
  await using adopters = startEach("tests/processes/adopter.ts", parameters);
  await Promise.all(adopters.map((adopter) => adopter.next()));
  for (let round = 0; round < 20; round++) {
    const lock = await getLock("a", { backend });
    const text = lock.detach();
    for (const adopter of adopters) adopter.tell(text);
    const said = await Promise.all(adopters.map((adopter) => adopter.next<string | null>()));
    assert.deepEqual(said.filter((token) => token !== null), [String(lock.token)]);
    assert.equal(await unlock("a", { backend }), true);
  }
  for (const [index, adopter] of adopters.entries()) {
    const lock = await getLock("a", { backend, lockedBy: "first" });
    const text = lock.detach();
    adopter.tell(text);
    // the last is killed before it can have adopted the lock, the others as soon as the lock is theirs
    while (index < 2 && (await listLocks({ backend }))[0].lockedBy === "first");
    adopter.child.kill("SIGKILL");
    await adopter.ended;
    const [{ lockedBy, token, lockedUntil }] = await listLocks({ backend });
    assert.deepEqual([token, lockedUntil], [lock.token, lock.lockedUntil]); // nothing but the holder changes
    if (lockedBy !== "first") await assert.rejects(adoptLock(text, { backend }), { code: "LOCK_NOT_FOUND" });
    else assert.equal((await adoptLock(text, { backend })).token, token);
    assert.equal(await unlock("a", { backend }), true);
  }
});

test("processes: console.log and util.inspect show the fields of a lock, and nothing private", async () => {
  await using somewhere = await place();
  const { code, output } = await run("tests/processes/prints_locks.ts", [somewhere.path]);
  assert.equal(code, 0, output);
  for (const type of ["Lock", "LockRecord", "LockMgr"]) assert.match(output, new RegExp(`\\b${type} \\{`));
  for (const field of [/name: ["']jobs["']/g, /lockedBy: ["']host-a["']/g, /token: \d+n\b/g, /\bshard: 7\b/g]) {
    assert.equal(output.match(field)?.length, 3, `${field} in ${output}`);
  }
  assert.equal(output.match(/lockedUntil: .*\d{4}-\d\d-\d\dT/g)?.length, 3);
  assert.match(output, /name: ["']main["'][^]*lockedBy: ["']host-b["']/);
  assert.doesNotMatch(output, /owner|claim|known|askedAt|#|\[object/i);
});

test("processes: a writer that dies in the middle of a transaction leaves everything as it was", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await getLock("a", { backend });
  await using writer = start("tests/processes/unfinished_writer.ts", [somewhere.path]);
  await writer.next();
  writer.child.kill("SIGKILL");
  await writer.ended;
  assert.deepEqual((await backend.list({ includeExpired: true })).map(({ name }) => name), ["a"]);
  assert((await getLock("b", { backend })).held);
});

/** If a timer and a durable write take longer (ms), the machine is busy, and they vary by more than the excess. */
const BUSY_MS = 10;

test("processes: a waiter in another process runs within 20 ms of the release, and waits without burning the processor", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  const delays: number[] = [];
  const controls: number[] = [];
  const shares: number[] = [];
  // What a busy machine takes for a timer and a durable write is not the product's, and it varies; the median leaves out
  // single stalls.
  for (let round = 0; round < 9; round++) {
    const lock = await getLock("a", { backend });
    // Long enough for the longest pause between polls; in three rounds, for the share of the processor to mean something.
    const measuresShare = round < 3;
    const timerFor = measuresShare ? "1000" : "0";
    await using waiter = start("tests/processes/waiter.ts", [somewhere.path, "a", timerFor]);
    assert.equal((await waiter.next<{ free: boolean }>()).free, false);
    await new Promise((resolve) => setTimeout(resolve, measuresShare ? 1_600 : 300));
    await lock.unlock();
    const releasedAt = performance.timeOrigin + performance.now();
    const { at, token, share, control, timerShare } = await waiter.next<Answer>();
    assert(BigInt(token) > lock.token);
    delays.push(at - releasedAt - control);
    controls.push(control);
    if (measuresShare) shares.push(share - 2 * timerShare); // a poll costs its timer and as much again
    await waiter.ended;
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];
  const limit = 20 + 2 * Math.max(0, median(controls) - BUSY_MS);
  assert(median(delays) < limit, `median hand-off ${median(delays)} ms of ${delays}, not ${limit}, beside ${controls}`);
  assert(median(shares) < 0.02, `median processor share beyond two bare timers ${median(shares)} of ${shares}`);
});

test("processes: 8 processes x 100 acquisitions of one name never overlap, and all get their turn", async () => {
  await using somewhere = await place();
  const { path, directory } = somewhere;
  const workers = Array.from({ length: 8 }, () => start("tests/processes/contender.ts", [path, directory, "100"]));
  try {
    for (const worker of workers) await worker.next();
    for (const worker of workers) worker.tell("begin");
    const reports = await Promise.all(workers.map((worker) => worker.next<{ overlaps: number; finished: number[] }>()));
    assert.deepEqual(reports.map(({ overlaps }) => overlaps), Array(8).fill(0));
    const tokens = (await readFile(`${directory}/tokens`, "utf8")).trim().split("\n").map(BigInt);
    assert.equal(tokens.length, 800);
    for (let index = 1; index < tokens.length; index++) assert(tokens[index] > tokens[index - 1]);
    // Fairness while all of them compete: from the moment the last one began to the moment the first one was done.
    const from = Math.max(...reports.map(({ finished }) => finished[0]));
    const to = Math.min(...reports.map(({ finished }) => finished.at(-1)!));
    const shares = reports.map(({ finished }) => finished.filter((at) => at >= from && at <= to).length);
    assert(jain(shares) >= 0.8, `Jain's index ${jain(shares)} of ${shares}`);
  } finally {
    for (const worker of workers) await worker[Symbol.asyncDispose]();
  }
});
