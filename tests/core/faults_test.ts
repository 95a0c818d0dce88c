import {
  BackendError,
  closeLocks,
  connect,
  getLock,
  getLocks,
  isLocked,
  LockLost,
  LockMgr,
  renewLock,
  setLock,
  tryLock,
  UnsupportedError,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { once } from "node:events";
import process from "node:process";
import { aborted, later } from "../conformance/case.ts";
import { type Faulty, faulty } from "./faulty.ts";
import { gated } from "./gated.ts";
import { around, test } from "./wrapping.ts";

/** Runs `body` with a database behind a connection that fails on demand. */
function faultTest(name: string, body: (faulty: Faulty) => Promise<void>): void {
  test(`faults: ${name}`, async () => {
    await using real = await connect("sqlite::memory:");
    await body(faulty(real));
  });
}

const DEAD = Array(8).fill("lose the request");

faultTest("a lock granted in an answer that was lost is found again", async ({ backend, faults, asked }) => {
  faults.acquire.push("lose the answer");
  const lock = await getLock("a", { backend, expires: 60 });
  assert.equal(asked.acquire, 2);
  assert.equal(lock.held, true);
  assert.equal(await lock.verify(), true);
  assert(lock.expiresIn! <= 60);
});

faultTest("a lock whose answer was lost late is held for what is left, not for less", async ({ backend }) => {
  let asked = 0;
  const late = around(backend, {
    async acquire(...parameters: Parameters<typeof backend.acquire>) {
      const answers = await backend.acquire(...parameters);
      if (++asked > 1) return answers;
      await new Promise((resolve) => setTimeout(resolve, 600)); // the time that passes is what is tested
      throw new BackendError("Cannot reach the database: connection reset", { retryable: true });
    },
  });
  const startedAt = performance.now();
  const lock = await getLock("a", { backend: late, expires: 10 });
  const left = lock.expiresIn!;
  assert.equal(asked, 2);
  assert.equal(lock.held, true);
  assert(left <= 9.4 && left > 9.9 - (performance.now() - startedAt) / 1e3, String(left));
  assert.equal(await lock.verify(), true);
});

faultTest("a look that was long on its way takes nothing off a lease", async ({ backend }) => {
  const late = around(backend, {
    async list(...parameters: Parameters<typeof backend.list>) {
      await new Promise((resolve) => setTimeout(resolve, 600)); // the time that passes is what is tested
      return await backend.list(...parameters);
    },
  });
  const startedAt = performance.now();
  const lock = await getLock("a", { backend: late, expires: 10 });
  const left = (await lock.refresh()).expiresIn!;
  assert(left > 9.5 - (performance.now() - startedAt) / 1e3, String(left));
  assert.equal(lock.held, true);
  assert.equal(await isLocked("a", { backend }), true);
});

faultTest("the time that a repeat takes to be asked is not taken off a lock", async ({ backend, faults }) => {
  const late = around(backend, {
    async acquire(...parameters: Parameters<typeof backend.acquire>) {
      if (faults.acquire.length === 0) await new Promise((resolve) => setTimeout(resolve, 200)); // connects anew
      return await backend.acquire(...parameters);
    },
  });
  for (const all of [false, true]) {
    faults.acquire.push("lose the answer");
    const startedAt = performance.now();
    const lock = all
      ? (await setLock(["b", "c"], { backend: late, fail: true, expires: 1 })).locks[1]
      : await getLock("a", { backend: late, expires: 1 });
    assert(lock.expiresIn! >= 1 - (performance.now() - startedAt) / 1e3, String(lock.expiresIn));
  }
});

faultTest("a lock found again by a later try counts from the try that took it", async ({ backend, faults, asked }) => {
  const other = await getLock("a", { backend, expires: 60 });
  const waiting = getLock("a", { backend, expires: 10, wait: 20 });
  while (asked.acquire < 2) await new Promise((resolve) => setTimeout(resolve, 1)); // it has seen that it must wait
  faults.acquire.push("lose the answer", "lose the answer"); // and then takes the name without knowing it
  await other.unlock();
  const lock = await waiting;
  const [row] = await backend.list({ names: ["a"] });
  const left = (row.lockedUntil! - row.now) / 1e6;
  assert(lock.expiresIn! <= left + 0.02, `${lock.expiresIn} s by the holder, ${left} s by the database`);
});

faultTest("a release is repeated for as long as a renewal without an answer may last", async ({ backend, faults }) => {
  const lock = await getLock("a", { backend, expires: 0.4 });
  faults.renew.push("lose the answer", "lose the answer");
  await assert.rejects(lock.renew({ expires: 60 }), BackendError);
  faults.release.push(...DEAD); // the first try that succeeds is after the lease that was known
  await assert.rejects(lock.unlock(), BackendError);
  assert(await getLock("a", { backend, wait: 10 }));
});

faultTest("steal with a wait waits out an outage, and leaves nothing behind", async ({ backend, faults, asked }) => {
  const holder = await getLock("a", { backend });
  faults.acquire.push("lose the answer", "lose the answer", "lose the request", "lose the request");
  const stolen = await getLock("a", { backend, steal: true, wait: 20 });
  assert.equal(asked.acquire, 6);
  assert.equal(holder.held, false);
  assert.equal(await stolen.verify(), true);
  faults.acquire.push("lose the request", "lose the request");
  await assert.rejects(getLock("a", { backend, steal: true }), BackendError);
  assert.equal(await stolen.unlock(), true);
  assert.equal(await isLocked("a", { backend }), false);
});

faultTest("one whose answers never arrive is not reported as held, and is given back", async ({ backend, faults }) => {
  faults.acquire.push("lose the answer", "lose the answer");
  await assert.rejects(getLock("a", { backend }), (error) => {
    assert(error instanceof BackendError);
    assert.equal(error.retryable, true);
    assert.equal(error.cause, "test");
    return true;
  });
  assert((await getLock("a", { backend, wait: 5 })).held);
});

faultTest("a renewal whose answer was lost adds once and keeps the lock", async ({ backend, faults }) => {
  const lock = await getLock("a", { backend, expires: 60 });
  faults.renew.push("lose the answer");
  await lock.renew({ expires: 60, addTime: true });
  assert(lock.expiresIn! > 115 && lock.expiresIn! <= 120);
  faults.renew.push("lose the answer");
  await assert.rejects(renewLock("a", { backend, expires: 60, addTime: true }), BackendError); // by name: never by itself
  assert((await lock.refresh()).expiresIn! <= 180);
});

faultTest("a release whose answer was lost is a release, not a loss", async ({ backend, faults }) => {
  const lock = await getLock("a", { backend });
  faults.release.push("lose the answer");
  assert.equal(await lock.unlock(), true);
  assert.equal(lock.signal.aborted, false);
  faults.release.push("lose the answer");
  assert.equal(await withLock("a", { backend }, () => 42), 42);
});

faultTest("a release cut off with the session that kept the lock claims nothing", async ({ backend, faults }) => {
  let ended: Error | undefined;
  const lifeline = {
    onEnd: () => () => {},
    get ended() {
      return ended;
    },
  };
  const riding = around(backend, {
    acquire: async (...parameters: Parameters<typeof backend.acquire>) =>
      (await backend.acquire(...parameters)).map((answer) =>
        answer.granted ? { ...answer, session: lifeline } : answer
      ),
    release: (...parameters: Parameters<typeof backend.release>) => {
      ended ??= new Error("the connection was reset"); // whatever the server does now, another may have the name
      return backend.release(...parameters);
    },
  });
  const lock = await getLock("a", { backend: riding });
  await backend.clean("all"); // the session ended a while ago, and the server has freed the name
  const other = await getLock("a", { backend });
  faults.release.push("lose the request");
  assert.equal(await lock.unlock(), false);
  assert.equal(await other.verify(), true);
});

faultTest("a release that fails can be repeated", async ({ backend, faults }) => {
  const lock = await getLock("a", { backend });
  faults.release.push(...DEAD);
  await assert.rejects(lock.unlock(), BackendError);
  assert.equal(lock.held, false);
  assert.equal(await isLocked("a", { backend }), true);
  faults.release.length = 0;
  assert.equal(await lock.unlock(), true);
  assert.equal(await isLocked("a", { backend }), false);
});

faultTest(
  "autoRenew lives through lost answers and a database that is away for a while",
  async ({ backend, faults }) => {
    const lock = await getLock("a", { backend, expires: 3.6, autoRenew: true });
    const { lockedUntil } = lock;
    faults.renew.push("lose the answer", "lose the request", "lose the request");
    while (lock.held && lock.lockedUntil! <= lockedUntil!) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(lock.held, true);
    assert.equal(faults.renew.length, 0);
    assert.equal(await lock.unlock(), true);
  },
);

faultTest(
  "the signal aborts at the local deadline when the database does not answer",
  async ({ backend, faults, unref }) => {
    const lock = await getLock("a", { backend, expires: 0.4, autoRenew: true });
    faults.renew.push(...Array(20).fill("hang"));
    // Two timers instead of a clock: where the machine stands still both are late, and still in this order.
    let late: ReturnType<typeof setTimeout>;
    const tooLate = new Promise((resolve) => late = setTimeout(resolve, 400 + 250, "told too late"));
    assert(await Promise.race([aborted(lock.signal), tooLate]) instanceof LockLost);
    clearTimeout(late!);
    unref();
    assert.equal(lock.held, false);
    assert.equal(await lock.verify(), false);
  },
);

faultTest("a dead database is a BackendError, never busy, for every call", async ({ backend, faults }) => {
  for (const verb of ["acquire", "renew", "release", "list"] as const) faults[verb].push(...DEAD);
  await assert.rejects(getLock("a", { backend }), BackendError);
  await assert.rejects(tryLock("a", { backend }), BackendError);
  await assert.rejects(setLock(["a"], { backend }), BackendError);
  await assert.rejects(renewLock("a", { backend }), BackendError);
  await assert.rejects(isLocked("a", { backend }), BackendError);
  await assert.rejects(withLock("a", { backend }, () => assert.fail("ran")), BackendError);
});

faultTest("a waiter lives through errors that pass", async ({ backend, faults }) => {
  const holder = await getLock("a", { backend });
  const waiter = later(getLock("a", { backend, wait: 10 }));
  await new Promise((resolve) => setTimeout(resolve, 0));
  faults.acquire.push("lose the request", "lose the request", "lose the answer");
  await holder.unlock();
  assert((await waiter).held);
});

faultTest("a wait that is over ends although the database is silent", async ({ backend, faults, unref }) => {
  const holder = await getLock("a", { backend });
  faults.acquire.push("hang", "hang", "hang");
  const startedAt = performance.now();
  const waits = [0.2, 0.4].map((wait) => getLock("a", { backend, wait }));
  const errors = (await Promise.allSettled(waits)).map((outcome) => outcome.status === "rejected" && outcome.reason);
  const after = performance.now() - startedAt;
  assert(after < 4_500, `answered after ${after} ms`);
  assert(errors[0] instanceof BackendError && errors[0].retryable, String(errors[0])); // nobody said that it was busy
  await holder.unlock();
  faults.acquire.length = 0;
  unref();
  assert((await getLock("a", { backend, wait: 5 })).held);
});

test("faults: a lock that is granted after its wait was over is given back", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, holdUp } = gated(real);
  const arrived = holdUp("acquire");
  const waiting = later(getLock("a", { backend, wait: 0.1 }));
  const pass = await arrived;
  await assert.rejects(waiting, BackendError);
  const next = later(getLock("a", { backend, wait: 10 }));
  pass();
  assert((await next).held);
});

faultTest("the body's own error wins over a release that fails", async ({ backend, faults }) => {
  const own = new Error("the body's own");
  const warned = once(process, "warning");
  faults.release.push(...DEAD);
  await assert.rejects(withLock("a", { backend }, () => Promise.reject(own)), (error) => error === own);
  assert((await warned)[0] instanceof BackendError); // not swallowed either
  faults.release.length = 0;
});

faultTest(
  "a release refused in a transaction of the program's is made when that has ended",
  async ({ backend: real }) => {
    let refusals = 0;
    const backend = around(real, {
      release(targets) {
        if (refusals-- > 0) throw new UnsupportedError("Cannot release: a transaction of the caller is open");
        return real.release(targets);
      },
    });
    const lock = await getLock("a", { backend });
    refusals = 2;
    await assert.rejects(lock.unlock(), UnsupportedError);
    await (await getLock("a", { backend, wait: 20 })).unlock();
    await getLock("b", { backend });
    refusals = 3;
    await closeLocks(backend, () => Promise.resolve());
    assert.equal(await isLocked("b", { backend: real }), false);
  },
);

faultTest("a disposal tells of a lock whose release is refused", async ({ backend: real }) => {
  const refusal = new BackendError("Cannot release: the pool has ended");
  const backend = around(real, { release: () => Promise.reject(refusal) });
  await getLock("a", { backend });
  const warned = once(process, "warning");
  await closeLocks(backend, () => Promise.resolve());
  assert.match(String((await warned)[0]), /Cannot release every lock.*1 may stay held/);
});

faultTest("a disposal does not tell of a lock that the database refused", async ({ backend: real }) => {
  const refusal = () => Promise.reject(new BackendError("Cannot use the table: the role may not do that"));
  const backend = around(real, { acquire: refusal, release: refusal });
  await assert.rejects(getLock("a", { backend }), /may not/);
  await assert.rejects(getLock("b", { backend, wait: 1 }), /may not/);
  const warnings: unknown[] = [];
  const note = (warning: unknown) => warnings.push(warning);
  process.on("warning", note);
  await closeLocks(backend, () => Promise.resolve());
  await new Promise((resolve) => setTimeout(resolve)); // a warning is told a moment later
  process.off("warning", note);
  assert.deepEqual(warnings, []);
});

faultTest("withLock tells of a release that fails after its body returned", async ({ backend, faults }) => {
  faults.release.push(...DEAD);
  await assert.rejects(withLock("a", { backend }, () => 42), BackendError);
});

faultTest(
  "a manager tries to release every lock although one fails, and keeps the body's error",
  async ({ backend, faults }) => {
    const own = new Error("the body's own");
    const warned = once(process, "warning");
    await assert.rejects(async () => {
      await using mgr = await LockMgr.acquire("a", { backend });
      await mgr.lock("b");
      await mgr.lock("c");
      faults.release.push("lose the request", "lose the request"); // of c, which is released first
      throw own;
    }, (error) => error === own);
    assert((await warned)[0] instanceof BackendError);
    const left = (await backend.list({})).map(({ name }) => name);
    assert(left.every((name) => name === "c"), String(left)); // whose release is repeated by now or soon
  },
);

test("faults: getLocks that waits outlives an outage, and leaves nothing held of requests without an answer", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, faults } = faulty(real);
  const held = await getLock("b", { backend: real });
  faults.acquire.push("lose the request", "lose the answer", "lose the request", "lose the answer");
  const waiting = getLocks(["c", "a", "b"], { backend, wait: 60 });
  await held.unlock();
  const set = await waiting;
  assert.equal(set.held, true);
  assert.equal(await set.unlock(), true);
  faults.acquire.push("lose the request", "lose the answer"); // it is repeated once
  await assert.rejects(getLocks(["a", "b"], { backend }), BackendError);
  await using again = await getLocks(["a", "b", "c"], { backend: real, wait: 60 });
  assert.equal(again.held, true);
});
