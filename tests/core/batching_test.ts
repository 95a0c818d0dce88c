import {
  type AcquireRequest,
  BackendError,
  connect,
  getLock,
  getLocks,
  type Lock,
  Locked,
  LockTimeout,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, later, RENEWED } from "../conformance/case.ts";
import { faulty } from "./faulty.ts";
import { type Gated, gated } from "./gated.ts";
import { test } from "./wrapping.ts";

/** Runs `body` with a real database behind a gate. */
function batchTest(name: string, body: (gate: Gated) => Promise<void>): void {
  test(`batching: ${name}`, async () => {
    await using real = await connect("sqlite::memory:");
    await body(gated(real));
  });
}

/** Names in an order that is not theirs. */
const NAMES = ["e", "b", "d", "a", "c"];

/** Starts one caller, holds its request up, starts the others behind it, and lets all pass. */
async function behind<T>(gate: Gated, verb: "acquire" | "renew" | "release", first: () => T, others: () => T[]) {
  const held = gate.holdUp(verb);
  const leading = first();
  const pass = await held;
  const following = others();
  await Promise.resolve();
  pass();
  return [leading, ...following];
}

batchTest("a caller who comes alone is asked for alone, at once", async ({ backend, sent }) => {
  const lock = await getLock("a", { backend });
  await lock.renew();
  await lock.unlock();
  assert.deepEqual(sent, { acquire: [["a"]], renew: [["a"]], release: [["a"]] });
});

batchTest("those who come while a request is under way go together, sorted, one batch at a time", async (gate) => {
  const { backend, sent } = gate;
  const take = (name: string) => getLock(name, { backend, lockedBy: `holder of ${name}` });
  const locks = await Promise.all(await behind(gate, "acquire", () => take("first"), () => NAMES.map(take)));
  assert.deepEqual(sent.acquire, [["first"], [...NAMES].sort()]);
  assert.deepEqual(locks.map(({ name }) => name), ["first", ...NAMES]);
  for (const lock of locks) {
    assert.equal(lock.lockedBy, `holder of ${lock.name}`);
    assert(await lock.verify());
  }
  await Promise.all(locks.map((lock) => lock.renew({ expires: 900 })));
  await Promise.all(locks.map((lock) => lock.unlock()));
  assert.deepEqual(sent.renew.flat().sort(), ["first", ...NAMES].sort());
  assert.deepEqual(sent.release.flat().sort(), ["first", ...NAMES].sort());
  assert(sent.renew.length <= 2 && sent.release.length <= 2, "each verb has batches");
});

batchTest("hundreds of callers in step share few requests", async ({ backend, sent }) => {
  await Promise.all(Array.from({ length: 300 }, async (_, index) => {
    for (let round = 0; round < 4; round++) await (await getLock(`job ${index}`, { backend })).unlock();
  }));
  assert(sent.acquire.length <= 40, `${sent.acquire.length} requests to acquire`);
  assert(sent.release.length <= 40, `${sent.release.length} requests to release`);
  assert.equal(sent.acquire.flat().length, 1_200);
});

batchTest("a batch has a thousand names at most, and nobody is forgotten", async ({ backend, sent }) => {
  const locks = await Promise.all(Array.from({ length: 2_500 }, (_, index) => getLock(`job ${index}`, { backend })));
  assert.deepEqual(sent.acquire.map(({ length }) => length), [1, 1_000, 1_000, 499]);
  assert(locks.every(({ held }) => held));
});

batchTest("however many names are waited for, each waiter has its turn", async ({ backend, sent }) => {
  const names = Array.from({ length: 3_000 }, (_, index) => `job ${index}`);
  const holders = await Promise.all(names.map((name) => getLock(name, { backend })));
  const waiters = names.map((name) => getLock(name, { backend, wait: 200 }));
  // each tries, and once more when it is told of releases
  while (sent.acquire.flat().length < 3 * names.length) await new Promise((resolve) => setTimeout(resolve, 1));
  const releasedAt = performance.now();
  await Promise.all(holders.map((lock) => lock.unlock()));
  const locks = await Promise.all(waiters);
  assert(performance.now() - releasedAt < 100_000, "a waiter was only served when its wait was over");
  locks.forEach((lock, index) => assert(lock.token > holders[index].token));
});

batchTest("each name is in a batch once, and both callers get their own answers", async (gate) => {
  const { backend, sent } = gate;
  const [other, lock] = [await getLock("other", { backend }), await getLock("same", { backend })];
  const [, byHandle, byName] = await Promise.all(
    await behind(gate, "release", () => other.unlock(), () => [lock.unlock(), unlock("same", { backend })]),
  );
  assert.deepEqual(sent.release, [["other"], ["same"], ["same"]]);
  assert.deepEqual([byHandle, byName], [true, false]);
});

batchTest("who is busy and who is not is told to each", async (gate) => {
  const { backend } = gate;
  const taken = await getLock("b", { backend, lockedBy: "host-b" });
  const attempts = await behind(gate, "acquire", () => tryLock("first", { backend }), () => [
    ...["a", "c"].map((name) => tryLock(name, { backend })),
  ]);
  assert.deepEqual((await Promise.all(attempts)).map((lock) => lock?.name), ["first", "a", "c"]);
  const mixed = await behind(
    gate,
    "acquire",
    () => tryLock("next", { backend }),
    () => ["d", "b", "e"].map((name) => tryLock(name, { backend })),
  );
  assert.deepEqual((await Promise.all(mixed)).map((lock) => lock?.name), ["next", "d", undefined, "e"]);
  await assert.rejects(getLock("b", { backend }), (error) => {
    assert(error instanceof Locked);
    return error.holder!.token === taken.token;
  });
});

batchTest("one bad request fails for its caller alone, and is found in few steps", async (gate) => {
  const { backend, sent, refuse } = gate;
  refuse.acquire = (names) => {
    if (names.includes("job 77")) throw new BackendError(`Cannot acquire lock "job 77": it is bad`);
  };
  const callers = Array.from({ length: 256 }, (_, index) => getLock(`job ${index}`, { backend }));
  const outcomes = await Promise.allSettled(callers);
  const failed = outcomes.flatMap(({ status }, index) => status === "rejected" ? [index] : []);
  assert.deepEqual(failed, [77]);
  assert.match(String((outcomes[77] as PromiseRejectedResult).reason), /it is bad/);
  assert(sent.acquire.length <= 20, `${sent.acquire.length} requests`);
});

batchTest("a batch that fails in passing is tried again one by one", async (gate) => {
  const { backend, sent, refuse } = gate;
  const passing = () => new BackendError("Cannot renew lock: deadlock detected", { retryable: true });
  refuse.acquire = (names) => {
    if (names.length > 1 || names[0] === "c") throw passing();
  };
  const outcomes = await Promise.allSettled(
    await behind(gate, "acquire", () => getLock("first", { backend }), () => {
      return NAMES.map((name) => getLock(name, { backend }));
    }),
  );
  assert.deepEqual(outcomes.map(({ status }) => status === "fulfilled"), [true, true, true, true, true, false]);
  assert.deepEqual(sent.acquire.slice(1).map(({ length }) => length), [5, 1, 1, 1, 1, 1]);
});

batchTest("a dead server is not asked for each caller, and each hears of its own lock", async (gate) => {
  const { backend, sent, refuse } = gate;
  refuse.acquire = refuse.release = (names) => {
    const others = names.length > 1 ? ` and ${names.length - 1} more` : "";
    throw new BackendError(`Cannot acquire lock "${names[0]}"${others}: connection refused`, { retryable: true });
  };
  const callers = Array.from({ length: 256 }, (_, index) => getLock(`job ${index}`, { backend }));
  for (const [index, outcome] of (await Promise.allSettled(callers)).entries()) {
    assert(outcome.status === "rejected" && outcome.reason instanceof BackendError && outcome.reason.retryable);
    assert.equal(outcome.reason.message, `Cannot acquire lock "job ${index}": connection refused`);
  }
  assert(sent.acquire.length <= 40, `${sent.acquire.length} requests to acquire`);
  await Promise.resolve();
  assert(sent.release.length <= 40, `${sent.release.length} requests to give back`);
});

test("batching: a server that dies between a batch and its repetition is left alone soon", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, sent, refuse } = gated(real);
  let answers = 2; // the first caller, and the first who goes alone again
  refuse.acquire = (names) => {
    if (names.length > 1 || answers-- <= 0) throw new BackendError("Cannot reach the database", { retryable: true });
  };
  const callers = Array.from({ length: 256 }, (_, index) => getLock(`job ${index}`, { backend }));
  const outcomes = await Promise.allSettled(callers);
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 2);
  assert(sent.acquire.length <= 40, `${sent.acquire.length} requests`);
});

test("batching: a batch of releases whose answer was lost is no loss to anybody", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend: failing, faults } = faulty(real);
  const gate = gated(failing);
  const { backend, sent } = gate;
  gate.refuse.release = ({ length }) => length > 1 && faults.release.push("lose the answer");
  const locks = await Promise.all(["first", ...NAMES].map((name) => getLock(name, { backend })));
  for (const { signal } of locks) assert(!signal.aborted);
  const [first, ...others] = locks;
  const releases = await behind(gate, "release", () => first.unlock(), () => others.map((lock) => lock.unlock()));
  assert.deepEqual(await Promise.all(releases), locks.map(() => true));
  assert.deepEqual(sent.release.map(({ length }) => length), [1, 5, 1, 1, 1, 1, 1]);
  assert(locks.every(({ signal }) => !signal.aborted));
});

batchTest("a request that hangs holds nobody up for long", async (gate) => {
  const { backend } = gate;
  const held = gate.holdUp("acquire");
  const hanging = later(getLock("hanging", { backend }));
  const pass = await held;
  const others = NAMES.map((name) => getLock(name, { backend }));
  assert.equal((await Promise.all(others)).length, NAMES.length);
  pass();
  assert((await hanging).held);
});

batchTest("wait and signal stay each caller's own", async (gate) => {
  const { backend } = gate;
  await getLock("busy", { backend });
  const controller = new AbortController();
  const attempts = await behind<Promise<Lock>>(gate, "acquire", () => getLock("first", { backend }), () => [
    getLock("free", { backend, wait: 5 }),
    getLock("busy", { backend, wait: 0.05 }),
    getLock("left", { backend, signal: controller.signal }),
  ]);
  controller.abort(new Error("enough"));
  const [first, free, busy, left] = await Promise.allSettled(attempts);
  assert.deepEqual([first.status, free.status], ["fulfilled", "fulfilled"]);
  assert(busy.status === "rejected" && busy.reason instanceof LockTimeout);
  assert(left.status === "rejected" && left.reason.message === "enough");
  assert((await getLock("left", { backend, wait: 5 })).held); // what nobody wanted was given back
});

batchTest("who waits for a name is served in order, whatever travels beside it", async (gate) => {
  const { backend } = gate;
  const order: number[] = [];
  const first = await getLock("queue", { backend });
  const noise = Array.from({ length: 20 }, async (_, index) => {
    for (let round = 0; round < 10; round++) await (await getLock(`noise ${index}`, { backend })).unlock();
  });
  const waiters = Array.from({ length: 20 }, async (_, index) => {
    const lock = await getLock("queue", { backend, wait: 30 });
    order.push(index);
    await lock.unlock();
  });
  await first.unlock();
  await Promise.all([...waiters, ...noise]);
  assert.deepEqual(order, Array.from({ length: 20 }, (_, index) => index));
});

test("batching: all or nothing travels alone", async () => {
  await using real = await connect("sqlite::memory:");
  const requests: [readonly AcquireRequest[], boolean | undefined][] = [];
  const { backend, holdUp } = gated({
    ...gated(real).backend,
    acquire: (names, options) => {
      requests.push([names, options?.allOrNothing]);
      return real.acquire(names, options);
    },
  });
  const held = holdUp("acquire");
  const first = later(getLock("first", { backend }));
  const pass = await held;
  const others = [getLock("a", { backend }), setLock(["b", "c"], { backend, fail: true }), getLock("d", { backend })];
  pass();
  await Promise.all([first, ...others]);
  const sent = requests.map(([names, all]) => [names.map(({ name }) => name).join(" "), all ?? false]);
  assert.deepEqual(sent.sort(), [["a d", false], ["b c", true], ["first", false]]);
});

test("batching: locks that are kept alive are renewed in one request, and one that is lost is lost alone", async () => {
  let sent: string[][] = [];
  for (let round = 0; round < 3 && sent.length !== 1; round++) { // the machine may stand still between the grants
    await using real = await connect("sqlite::memory:");
    const gate = gated(real);
    const { backend } = gate;
    const locks = await Promise.all(NAMES.map((name) => getLock(name, { backend, expires: RENEWED, autoRenew: true })));
    await real.release([{ name: "c", owner: null }]);
    const lost = locks.find(({ name }) => name === "c")!;
    await aborted(lost.signal);
    sent = gate.sent.renew;
    assert.deepEqual(locks.filter(({ held }) => held).map(({ name }) => name), NAMES.filter((name) => name !== "c"));
    await Promise.all(locks.map((lock) => lock.unlock()));
  }
  assert.deepEqual(sent, [[...NAMES].sort()]);
});

test("batching: of a hundred names of which two are held, those between them are acquired in one request", async () => {
  await using real = await connect("sqlite::memory:");
  const requests: number[] = [];
  const acquire = real.acquire.bind(real);
  real.acquire = (some, options) => {
    requests.push(some.length);
    return acquire(some, options);
  };
  const names = Array.from({ length: 100 }, (_, index) => `n${String(index).padStart(2, "0")}`);
  const held = [await getLock("n30", { backend: real }), await getLock("n60", { backend: real })];
  const waiting = getLocks(names, { backend: real, wait: 30 });
  for (const lock of held) {
    while ((await real.list({ names: [lock.name] }))[0].waiters !== 1) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await lock.unlock();
  }
  const set = await waiting;
  assert.deepEqual([set.held, set.locks.map(({ name }) => name)], [true, names]);
  assert.deepEqual(requests.filter((count) => count > 1), [100, 30, 69, 29, 39]);
  assert.equal(await set.unlock(), true);
});
