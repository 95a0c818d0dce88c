/** Requests whose answer was lost: found again by their owner, or undone before a caller is told something else. */
import {
  type AcquireRequest,
  type Backend,
  BackendError,
  closeLocks,
  connect,
  getLock,
  isLocked,
  type Lock,
  Locked,
  LockMgr,
  LockTimeout,
  renewLock,
  setLock,
  tryLock,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { type Fault, type Faulty, faulty } from "./faulty.ts";
import { gated } from "./gated.ts";
import { around, test } from "./wrapping.ts";

/** Runs `body` with a database behind a connection that fails on demand, and what was asked of it. */
function unheardTest(name: string, body: (faulty: Faulty, requests: AcquireRequest[]) => Promise<void>): void {
  test(`unheard: ${name}`, async () => {
    await using real = await connect("sqlite::memory:");
    const failing = faulty(real);
    const requests: AcquireRequest[] = [];
    const backend = around(failing.backend, {
      acquire(...parameters: Parameters<Backend["acquire"]>) {
        requests.push(...parameters[0]);
        return failing.backend.acquire(...parameters);
      },
    });
    await body({ ...failing, backend }, requests);
  });
}

const ALWAYS: Fault[] = Array(200).fill("lose the request");

/** Resolves when the name is free. */
async function free(backend: Backend, name: string): Promise<void> {
  while (await isLocked(name, { backend })) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Resolves when something is so. */
async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setTimeout(resolve, 1));
}

unheardTest(
  "every request after one without an answer says that it is repeated",
  async ({ backend, faults }, requests) => {
    faults.acquire.push("lose the answer");
    await getLock("alone", { backend });
    assert.deepEqual(requests.splice(0).map(({ repeated }) => repeated ?? false), [false, true]);
    faults.acquire.push("lose the answer");
    await setLock(["a", "b"], { backend, fail: true });
    assert.deepEqual(requests.splice(0).map(({ repeated }) => repeated ?? false), [false, false, true, true]);
    const holder = await getLock("held", { backend });
    requests.splice(0);
    faults.acquire.push("lose the request", "lose the request");
    const waiter = getLock("held", { backend, wait: 20 });
    await until(() => requests.length >= 3);
    await holder.unlock();
    await waiter;
    assert.equal(requests[0].repeated ?? false, false);
    assert(requests.slice(1).every(({ repeated }) => repeated === true), "also later tries of the same waiter");
    assert.equal(new Set(requests.map(({ owner }) => owner)).size, 1);
  },
);

for (const crowd of [1, 3]) {
  test(`unheard: a request whose caller is gone is not sent again, ${crowd} at a time`, async () => {
    await using real = await connect("sqlite::memory:");
    const sent: number[] = [];
    const lost = Promise.withResolvers<void>();
    const backend = around(real, {
      async acquire(requests: readonly AcquireRequest[]) {
        sent.push(requests.length);
        await lost.promise;
        throw new BackendError("Cannot get an answer", { retryable: true });
      },
    });
    const leaving = new AbortController();
    const options = { backend, wait: 20, signal: leaving.signal };
    const callers = Array.from({ length: crowd }, (_, index) => getLock(`name ${index}`, options));
    const batches = crowd === 1 ? [1] : [1, crowd - 1];
    await until(() => sent.length === batches.length);
    leaving.abort();
    await Promise.allSettled(callers);
    lost.resolve();
    await closeLocks(backend, () => Promise.resolve());
    assert.deepEqual(sent, batches);
  });
}

/** Three requests, of which the second and the third wait for the answer to the first. */
async function threeRequests(signal?: AbortSignal) {
  const real = await connect("sqlite::memory:");
  const { backend, holdUp, sent } = gated(real);
  const first = holdUp("acquire");
  const callers = ["a", "b", "c"].map((name) => getLock(name, { backend, wait: 20, signal }));
  const ended = Promise.allSettled(callers);
  return { backend, sent, ended, pass: await first, [Symbol.asyncDispose]: () => real[Symbol.asyncDispose]() };
}

test("unheard: a request that waits for its batch is not sent after an abort", async () => {
  const leaving = new AbortController();
  await using requests = await threeRequests(leaving.signal);
  const { backend, sent, ended, pass } = requests;
  const staying = later(getLock("b", { backend, wait: 20 }));
  leaving.abort();
  await ended;
  pass();
  await (await staying).unlock();
  await closeLocks(backend, () => Promise.resolve());
  assert.deepEqual(sent.acquire, [["a"], ["b"]]);
});

test("unheard: an abort as the grant arrives is told once the lock is released", async () => {
  await using real = await connect("sqlite::memory:");
  for (let ticks = 0; ticks < 10; ticks++) {
    const controller = new AbortController();
    const backend = around(real, {
      async acquire(requests) {
        const answers = await real.acquire(requests);
        (async () => {
          for (let tick = 0; tick < ticks; tick++) await undefined;
          controller.abort(new Error("enough"));
        })();
        return answers;
      },
      async release(locks) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        return await real.release(locks);
      },
    });
    const outcome = await getLock("a", { backend, wait: 60, signal: controller.signal }).catch(() => undefined);
    assert.equal(await isLocked("a", { backend: real }), outcome !== undefined, `after ${ticks} ticks`);
    await outcome?.unlock();
  }
});

test("unheard: a request that waits for its batch is not sent after a disposal", async () => {
  await using requests = await threeRequests();
  const { backend, sent, ended, pass } = requests;
  const disposal = closeLocks(backend, () => Promise.resolve());
  await ended;
  pass();
  await disposal;
  assert.deepEqual([sent.acquire, sent.release], [[["a"]], [["a"]]]);
});

unheardTest("a crowd whose batch had no answer repeats its requests as such", async ({ backend, faults }, requests) => {
  const crowd = Array.from({ length: 20 }, (_, index) => getLock(`crowd ${index}`, { backend }));
  faults.acquire.push("lose the answer"); // of the batch that follows the first of them
  const locks = await Promise.all(crowd);
  assert(locks.every(({ held }) => held));
  const again = requests.filter(({ owner }, index) => requests.findIndex((one) => one.owner === owner) < index);
  assert(again.length > 0 && again.every(({ repeated }) => repeated));
});

for (const fail of [false, true]) {
  unheardTest(`setLock gives back what an unheard answer granted, fail: ${fail}`, async ({ backend, faults }) => {
    faults.acquire.push("lose the answer", "lose the answer");
    faults.release.push("lose the request", "lose the request", "lose the request");
    await assert.rejects(setLock(["a", "b"], { backend, fail }), BackendError);
    await Promise.all([free(backend, "a"), free(backend, "b")]);
  });
}

unheardTest("setLock gives back what it created when it fails later", async ({ backend, faults }) => {
  await getLock("held", { backend });
  faults.renew.push("lose the request", "lose the request");
  await assert.rejects(setLock(["free", "held"], { backend }), BackendError);
  await free(backend, "free");
  assert.equal(await isLocked("held", { backend }), true);
});

test("setLock: a disposal while it renews held names releases the names that it has created", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, holdUp } = gated(real);
  await getLock("held", { backend: real });
  const renewing = holdUp("renew");
  const setting = later(setLock(["free", "held"], { backend }));
  const pass = await renewing;
  const disposal = closeLocks(backend, () => Promise.resolve());
  setTimeout(pass, 20); // the disposal waits for 1.5 s
  await assert.rejects(setting, BackendError);
  await disposal;
  assert.equal(await isLocked("free", { backend: real }), false);
  assert.equal(await isLocked("held", { backend: real }), true);
});

/** Every way to release a lock. */
const RELEASES: Record<string, (lock: Lock) => Promise<unknown>> = {
  unlock: (lock) => assert.rejects(lock.unlock(), BackendError),
  "the end of a block": (lock) => lock[Symbol.asyncDispose](),
};

for (const [how, release] of Object.entries(RELEASES)) {
  for (const expires of [600, null]) {
    unheardTest(`a release that failed is repeated: ${how}, expires ${expires}`, async ({ backend, faults }) => {
      const lock = await getLock("a", { backend, expires });
      faults.release.push(...ALWAYS);
      await release(lock);
      assert.equal(await isLocked("a", { backend }), true);
      faults.release.length = 0;
      await free(backend, "a");
      assert.equal(await lock.unlock(), true); // its own requests released it
      assert.equal(lock.signal.aborted, false);
      const next = await getLock("a", { backend });
      assert.equal(await lock.unlock(), false);
      assert.equal(await next.verify(), true);
    });

    test(`unheard: a disposal repeats a release that failed: ${how}, expires ${expires}`, async () => {
      await using real = await connect("sqlite::memory:");
      const { backend, faults } = faulty(real);
      const lock = await getLock("a", { backend, expires });
      faults.release.push(...ALWAYS);
      await release(lock);
      assert.equal(await isLocked("a", { backend: real }), true);
      faults.release.length = 0;
      await closeLocks(backend, () => Promise.resolve());
      assert.equal(await isLocked("a", { backend: real }), false);
    });
  }
}

test("unheard: a lock whose unlock fails 20 times has one release that is repeated", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, holdUp, refuse, sent } = gated(real);
  const lock = await getLock("a", { backend, expires: null });
  refuse.release = () => {
    throw new BackendError("Cannot release lock: connection reset", { retryable: true });
  };
  for (let round = 0; round < 20; round++) await assert.rejects(lock.unlock(), /connection reset/);
  await new Promise((resolve) => setTimeout(resolve, 5)); // what was begun has failed
  refuse.release = undefined;
  const passing = holdUp("release");
  sent.release.length = 0;
  const disposal = closeLocks(backend, () => Promise.resolve());
  (await passing)();
  await disposal;
  assert.deepEqual(sent.release, [["a"]]);
  assert.equal(await isLocked("a", { backend: real }), false);
});

test("unheard: a disposal waits for a release in flight, and repeats it if it fails", async () => {
  for (const fails of [false, true]) {
    await using real = await connect("sqlite::memory:");
    const { backend, holdUp, refuse } = gated(real);
    const lock = await getLock("a", { backend, expires: null });
    const held = holdUp("release");
    const releasing = lock.unlock().catch((error) => error);
    const pass = await held;
    const disposal = closeLocks(backend, () => Promise.resolve());
    let failures = fails ? 2 : 0;
    refuse.release = () => {
      if (failures-- > 0) throw new BackendError("Cannot release lock: connection reset", { retryable: true });
    };
    setTimeout(pass, 20); // the disposal waits for 1.5 s
    await disposal;
    assert.equal(await isLocked("a", { backend: real }), false);
    const outcome = await releasing;
    assert(fails ? outcome instanceof BackendError : outcome === true, String(outcome));
  }
});

unheardTest("a release that the database refused is tried again", async ({ backend, faults }) => {
  let full = true;
  const refusing = around(backend, {
    release: (...parameters: Parameters<Backend["release"]>) =>
      full ? Promise.reject(new BackendError("Cannot release lock: the disk is full")) : backend.release(...parameters),
  });
  const lock = await getLock("a", { backend: refusing, expires: null });
  await assert.rejects(lock.unlock(), /the disk is full/);
  faults.acquire.push("lose the answer", "lose the answer");
  await assert.rejects(getLock("b", { backend: refusing }), BackendError);
  full = false;
  await Promise.all([free(backend, "a"), free(backend, "b")]);
});

unheardTest("a give-back is repeated until it is answered", async ({ backend, faults }) => {
  faults.acquire.push("lose the answer", "lose the answer");
  faults.release.push("lose the request", "lose the request", "lose the request", "lose the request");
  await assert.rejects(getLock("a", { backend }), BackendError);
  await free(backend, "a");
});

unheardTest(
  "a grant that takes effect after its caller was told an error is given back",
  async ({ backend, faults }) => {
    faults.acquire.push("lose the request", "lose the request");
    let late: AcquireRequest;
    const keeping = around(backend, {
      acquire(...parameters: Parameters<Backend["acquire"]>) {
        late ??= parameters[0][0];
        return backend.acquire(...parameters);
      },
    });
    await assert.rejects(getLock("a", { backend: keeping }), BackendError);
    const [answer] = await backend.acquire([late!]); // the server goes on with a statement that was given up
    assert(answer.granted);
    await free(backend, "a");
  },
);

unheardTest("a wait that was aborted while its answer was lost leaves nothing behind", async ({ backend, faults }) => {
  for (const wait of [0, 10]) {
    faults.acquire.push("lose the answer", "lose the answer");
    const aborting = new AbortController();
    const waiting = later(getLock("a", { backend, wait, signal: aborting.signal }));
    aborting.abort(new Error("no longer wanted"));
    await assert.rejects(waiting, /no longer wanted/);
    await free(backend, "a");
  }
});

unheardTest("busy is told only by an answer", async ({ backend, faults, unref }) => {
  const holder = await getLock("a", { backend });
  faults.acquire.push(...Array<Fault>(3).fill("hang"));
  const waits = [0.05, 0.1].map((wait) => getLock("a", { backend, wait }));
  const outcomes = await Promise.allSettled(waits);
  for (const outcome of outcomes) {
    assert(outcome.status === "rejected" && outcome.reason instanceof BackendError, String(outcome));
  }
  faults.acquire.length = 0;
  unref();
  await assert.rejects(getLock("a", { backend }), Locked);
  await holder.unlock();
});

unheardTest("a wait goes on through an outage that began before it", async ({ backend, faults, asked }) => {
  faults.acquire.push(...ALWAYS);
  const waiters = [30, Infinity].map((wait) => getLock("a", { backend, wait, expires: 30 }));
  await until(() => asked.acquire >= 6);
  faults.acquire.length = 0;
  const first = await Promise.race(waiters);
  await first.unlock();
  for (const lock of await Promise.all(waiters)) await lock.unlock();
});

unheardTest("a wait through an outage ends with the last error, not with busy", async ({ backend, faults }) => {
  faults.acquire.push(...ALWAYS);
  const startedAt = performance.now();
  const waits = [0.5, 0.5, 0.6].map((wait) => tryLock("a", { backend, wait }));
  for (const outcome of await Promise.allSettled(waits)) {
    assert(outcome.status === "rejected" && outcome.reason instanceof BackendError, JSON.stringify(outcome));
    assert.equal(outcome.reason.cause, "test");
  }
  assert(performance.now() - startedAt >= 499);
  const aborting = new AbortController();
  const endless = later(getLock("a", { backend, wait: Infinity, signal: aborting.signal }));
  aborting.abort(new Error("stopped"));
  await assert.rejects(endless, /stopped/);
});

unheardTest("a final error ends a wait at once", async ({ backend }) => {
  const broken = around(backend, {
    acquire: () => Promise.reject(new BackendError("Cannot acquire lock: permission denied")),
  });
  await assert.rejects(getLock("a", { backend: broken, wait: 30 }), /permission denied/);
});

/** Every way to take a lock that never expires. */
const EVERLASTING: Record<string, (backend: Backend) => Promise<unknown>> = {
  "getLock, null": (backend) => getLock("a", { backend, expires: null }),
  "getLock, 0, waiting": (backend) => getLock("a", { backend, expires: 0, wait: 5 }),
  "tryLock, Infinity": (backend) => tryLock("a", { backend, expires: Infinity }),
  "setLock": (backend) => setLock("a", { backend, expires: 0 }),
  "setLock, fail": (backend) => setLock("a", { backend, expires: 0, fail: true }),
  "LockMgr": (backend) => LockMgr.acquire("a", { backend, expires: null }),
  "renewLock, create": (backend) => renewLock("a", { backend, expires: 0, create: true }),
};

for (const [how, take] of Object.entries(EVERLASTING)) {
  unheardTest(
    `a lock that never expires is not made by a lost answer: ${how}`,
    async ({ backend, faults }, requests) => {
      faults.acquire.push("lose the answer", "lose the answer", "lose the answer", "lose the answer");
      faults.release.push(...ALWAYS);
      const taking = take(backend).catch((error) => error);
      await until(() => requests.length >= 2);
      const [row] = await backend.list({ names: ["a"] });
      assert(row === undefined || row.lockedUntil! - row.now <= 60e6);
      faults.acquire.length = faults.release.length = 0;
      await taking;
    },
  );

  unheardTest(
    `a lock that never expires is made permanent when it was heard of: ${how}`,
    async ({ backend, faults }) => {
      faults.renew.push(...how.startsWith("renewLock") ? [] : ["lose the answer", "lose the request"] as Fault[]);
      await take(backend);
      const [row] = await backend.list({ names: ["a"] });
      assert.equal(row.lockedUntil, null);
    },
  );
}

unheardTest("a lock that cannot be made permanent is released, and its caller told", async ({ backend }) => {
  let refuse = true;
  const refusing = around(backend, {
    renew: (...parameters: Parameters<Backend["renew"]>) =>
      refuse ? Promise.reject(new BackendError("Cannot renew: read-only")) : backend.renew(...parameters),
  });
  await assert.rejects(getLock("a", { backend: refusing, expires: null }), /could not be made permanent: .*read-only/);
  await free(backend, "a");
  await assert.rejects(setLock(["a", "b"], { backend: refusing, expires: null, fail: true }), BackendError);
  await Promise.all([free(backend, "a"), free(backend, "b")]);
  refuse = false;
  assert.equal((await getLock("a", { backend: refusing, expires: null })).expiresIn, null);
});

unheardTest("a wait bounds how long a lock takes to become permanent on a silent server", async ({ backend }) => {
  let silent = true;
  const refusing = around(backend, {
    renew: (...parameters: Parameters<Backend["renew"]>) =>
      silent ? new Promise<never>(() => {}) : backend.renew(...parameters),
  });
  const startedAt = performance.now();
  const refused = /could not be made permanent: the database has not answered/;
  await assert.rejects(getLock("a", { backend: refusing, expires: null, wait: 0.1 }), refused);
  const waited = performance.now() - startedAt;
  assert(waited >= 2_000 && waited < 10_000, `${waited} ms`);
  silent = false;
  await free(backend, "a");
});

unheardTest("an abort while a lock is made permanent releases it", async ({ backend, faults, asked }) => {
  faults.renew.push(...ALWAYS);
  const aborting = new AbortController();
  const taking = getLock("a", { backend, expires: null, signal: aborting.signal });
  await until(() => asked.renew >= 2);
  aborting.abort(new Error("stopped"));
  await assert.rejects(taking, /stopped/);
  await free(backend, "a");
});

unheardTest("a handle that a lost answer made permanent is released when it is lost", async ({ backend, faults }) => {
  const lock = await getLock("a", { backend, expires: 2.2 });
  faults.renew.push("lose the answer", "lose the answer");
  await assert.rejects(lock.renew({ expires: 0 }), BackendError);
  assert.equal((await backend.list({ names: ["a"] }))[0].lockedUntil, null);
  assert.equal(lock.signal.aborted, false);
  await until(() => lock.signal.aborted);
  await free(backend, "a");
});

for (const how of ["by hand", "automatically"]) {
  unheardTest(`a handle that is lost during a renewal ${how} is released`, async ({ backend, faults }) => {
    const answer = Promise.withResolvers<void>();
    const slow = around(backend, {
      async renew(...parameters: Parameters<Backend["renew"]>) {
        const rows = await backend.renew(parameters[0].map((request) => ({ ...request, add: 20e6 })));
        await answer.promise;
        return rows;
      },
    });
    const lock = await getLock("a", { backend: slow, expires: 0.5, autoRenew: how === "automatically" });
    const renewal = how === "automatically" ? undefined : lock.renew({ expires: 600 }).catch((error) => error);
    await until(() => lock.signal.aborted);
    const lostAt = performance.now();
    await free(backend, "a");
    assert(performance.now() - lostAt < 10_000, "it is free long before it expires");
    answer.resolve();
    if (renewal) assert.equal((await renewal).code, "LOCK_LOST");
    assert.deepEqual(faults.release, []);
  });
}

unheardTest("one that expires takes one statement, one that does not takes two", async ({ backend, asked }) => {
  await (await getLock("a", { backend })).unlock();
  assert.deepEqual([asked.acquire, asked.renew, asked.release], [1, 0, 1]);
  await withLock("a", { backend, expires: null }, () => {});
  assert.deepEqual([asked.acquire, asked.renew, asked.release], [2, 1, 2]);
  await assert.rejects(async () => {
    await getLock("a", { backend });
    await getLock("a", { backend, wait: 0.01 });
  }, LockTimeout);
});
