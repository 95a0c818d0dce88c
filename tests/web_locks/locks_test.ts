import { type Backend, connect, getLock, LockLost, tryLock, unlock, UnsupportedError } from "@lockmgr/lockmgr";
import { type Lock, type LockManager, lockManager } from "@lockmgr/lockmgr/web-locks";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { sessionStore, stores } from "./engines.ts";

type Requests = LockManager & { request(...parameters: unknown[]): Promise<unknown> };

/** A promise and what settles it. */
const gate = () => Promise.withResolvers<void>();

/** Requests a lock until the returned function is called; resolves once it is held. */
async function hold(
  locks: LockManager,
  name: string,
  options = {},
): Promise<{ lock: Lock; done: () => Promise<void> }> {
  const { promise, resolve } = gate();
  const granted = Promise.withResolvers<Lock>();
  const request = locks.request(name, options, (lock) => (granted.resolve(lock!), promise));
  request.catch(granted.reject);
  return { lock: await granted.promise, done: () => (resolve(), request) };
}

/** Waits until a client sees as many requests wait. */
async function untilPending(locks: LockManager, count: number): Promise<void> {
  while ((await locks.query()).pending.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
}

for (const [engine, makeStore] of Object.entries(stores)) {
  const on = (name: string, body: (one: Backend, other: Backend) => Promise<void>) =>
    test(`web locks, ${engine}: ${name}`, async () => {
      await using store = await makeStore();
      await using one = await store.open();
      await using other = await store.open();
      await body(one, other);
    });

  on("a request and getLock of the same name exclude each other", async (one, other) => {
    const { done } = await hold(lockManager(one), "a");
    assert.equal(await tryLock("a", { backend: other }), undefined);
    await done();
    await using _lock = await getLock("a", { backend: other });
    assert.equal(await lockManager(one).request("a", { ifAvailable: true }, (lock) => lock), null);
  });

  on("odd names are different locks, and query returns them unchanged", async (one, other) => {
    const long = "n".repeat(256);
    const names = [
      "",
      "\0",
      "%0000",
      "\uD800",
      "\uDC00\uD800",
      "\uFFFD",
      "a",
      "A",
      "a ",
      long,
      `${long}\0`,
      `${long}\uD800`,
    ];
    const locks = lockManager(one);
    const held = await Promise.all(names.map((name) => hold(locks, name, { ifAvailable: true })));
    assert.deepEqual(held.map(({ lock }) => lock.name), names);
    const stranger = lockManager(other);
    for (const name of names) {
      assert.equal(await stranger.request(name, { ifAvailable: true }, (lock) => lock), null, JSON.stringify(name));
    }
    const seen = (await stranger.query()).held.map(({ name }) => name);
    assert.deepEqual(seen.toSorted(), names.toSorted());
    await Promise.all(held.map(({ done }) => done()));
    assert.deepEqual(await stranger.query(), { held: [], pending: [] });
  });

  on("query shows holders and waiters of all clients, in order", async (one, other) => {
    const [locks, stranger] = [lockManager(one), lockManager(other)];
    const { done } = await hold(locks, "a", { mode: "shared" });
    const waits = locks.request("a", () => {});
    await untilPending(stranger, 1);
    const shared = stranger.request("a", { mode: "shared" }, () => {});
    const last = stranger.request("a", () => {});
    for (const client of [locks, stranger]) await untilPending(client, client === stranger ? 3 : 2);
    const { held: [holder], pending } = await stranger.query();
    assert.deepEqual([holder.name, holder.mode], ["a", "shared"]);
    assert.deepEqual(pending.map(({ mode }) => mode), ["exclusive", "shared", "exclusive"]);
    assert.equal(pending[0].clientId, holder.clientId);
    assert.equal(pending[1].clientId, pending[2].clientId);
    assert.notEqual(pending[1].clientId, holder.clientId);
    assert.deepEqual((await locks.query()).pending, pending.slice(0, 2)); // of another process the next one
    await done();
    await Promise.all([waits, shared, last]);
  });

  on("a lock that another client steals ends the request, though its callback goes on", async (one, other) => {
    const [broken, ended] = [gate(), gate()];
    const victim = lockManager(one, { expires: 0.6 }).request("a", async (lock) => {
      await assert.rejects(lockManager(other).request("a", { steal: true }, () => Promise.reject(new Error("mine"))), {
        message: "mine",
      });
      await broken.promise;
      assert(lock!.signal.reason instanceof LockLost);
      ended.resolve();
    });
    const alive = setInterval(() => {}, 1_000); // renewals alone keep no process running
    await assert.rejects(victim, (error) => error instanceof DOMException && error.name === "AbortError");
    broken.resolve();
    await ended.promise;
    clearInterval(alive);
  });

  on("a lock that was released by force is lost as if it were stolen", async (one, other) => {
    const request = lockManager(one).request("a", async () => assert(await unlock("a", { backend: other })));
    await assert.rejects(request, (error) => {
      assert(error instanceof DOMException && error.name === "AbortError");
      return (error as { cause?: unknown }).cause instanceof LockLost;
    });
    const failing = lockManager(one).request("a", async () => {
      await unlock("a", { backend: other });
      throw new Error("mine");
    });
    await assert.rejects(failing, { message: "mine" });
  });

  on("requests around a steal are served in order", async (one) => {
    const locks = lockManager(one);
    const order: string[] = [];
    const never = new Promise<void>(() => {});
    const victim = assert.rejects(locks.request("a", () => (order.push("first"), never)), { name: "AbortError" });
    const waits = locks.request("a", () => void order.push("second"));
    const steal = locks.request("a", { steal: true }, () => void order.push("steal"));
    const after = locks.request("a", () => void order.push("third"));
    const tried = locks.request("a", { ifAvailable: true }, (lock) => assert.equal(lock, null));
    await Promise.all([victim, waits, steal, after, tried]);
    assert.deepEqual(order, ["first", "steal", "second", "third"]);
  });

  on("disposal of the backend returns what callbacks return, and ends waits", async (one) => {
    const { promise, resolve } = gate();
    const locks = lockManager(one);
    const granted = gate();
    const held = locks.request("a", () => (granted.resolve(), promise.then(() => 7)));
    await granted.promise;
    const waits = assert.rejects(locks.request("a", () => {}), { code: "BACKEND" });
    await one[Symbol.asyncDispose]();
    await waits;
    resolve();
    assert.equal(await held, 7);
  });
}

/** Arguments that the standard refuses, and the name of the error. */
const REFUSED: readonly (readonly [name: string, parameters: unknown[]])[] = [
  ["TypeError", []],
  ["TypeError", ["a"]],
  ["TypeError", ["a", undefined]],
  ["TypeError", ["a", {}]],
  ["TypeError", ["a", {}, null]],
  ["TypeError", ["a", () => {}, {}]],
  ["TypeError", ["a", 7, () => {}]],
  ["TypeError", ["a", "shared", () => {}]],
  ["TypeError", [Symbol("a"), () => {}]],
  ["TypeError", ["a", { mode: "read" }, () => {}]],
  ["TypeError", ["a", { mode: null }, () => {}]],
  ["TypeError", ["a", { signal: null }, () => {}]],
  ["TypeError", ["a", { signal: {} }, () => {}]],
  ["TypeError", ["-", { mode: "read" }, () => {}]],
  ["NotSupportedError", ["-", () => {}]],
  ["NotSupportedError", ["-a", { signal: AbortSignal.abort() }, () => {}]],
  ["NotSupportedError", ["a", { steal: true, ifAvailable: true }, () => {}]],
  ["NotSupportedError", ["a", { steal: 1, mode: "shared" }, () => {}]],
  ["NotSupportedError", ["a", { steal: true, signal: AbortSignal.abort() }, () => {}]],
  ["NotSupportedError", ["a", { ifAvailable: true, signal: AbortSignal.abort() }, () => {}]],
  ["AbortError", ["a", { signal: AbortSignal.abort() }, () => {}]],
];

test("web locks: request refuses and converts its arguments as the standard does", async () => {
  await using backend = await connect("sqlite::memory:");
  const locks = lockManager(backend) as Requests;
  for (const [name, parameters] of REFUSED) {
    const kind = name === "TypeError" ? TypeError : DOMException;
    const what = parameters.map(String).join(", ");
    await assert.rejects(
      locks.request(...parameters),
      (error: Error) => error instanceof kind && error.name === name,
      what,
    );
  }
  for (
    const options of [undefined, null, {}, [], () => {}, { mode: undefined, signal: undefined, steal: 0, more: 1 }]
  ) {
    assert.equal(await locks.request(7, options, (lock: Lock) => `${lock.name} ${lock.mode}`, "more"), "7 exclusive");
  }
  const read: string[] = [];
  const options = new Proxy({}, { get: (_, member) => void read.push(String(member)) });
  await locks.request(
    "a",
    options,
    (lock: Lock) => assert.equal(Object.prototype.toString.call(lock), "[object Lock]"),
  );
  assert.deepEqual(read, ["ifAvailable", "mode", "signal", "steal"]);
  await assert.rejects(
    (locks.request as (...parameters: unknown[]) => unknown).call({}, "a", () => {}) as Promise<void>,
    TypeError,
  );
  assert.equal(String(locks), "[object LockManager]");
});

test("web locks: an abort ends a wait at once, and leaves no request behind", async () => {
  await using backend = await connect("sqlite::memory:");
  const locks = lockManager(backend);
  const { done } = await hold(locks, "a");
  const controller = new AbortController();
  const waits = locks.request("a", { signal: controller.signal }, () => assert.fail());
  const last = locks.request("a", () => 7);
  controller.abort("my reason");
  await assert.rejects(waits, (reason) => reason === "my reason");
  assert.equal((await locks.query()).pending.length, 1);
  await done();
  assert.equal(await last, 7);
});

test("web locks: lockManager checks its arguments", async () => {
  await using backend = await connect("sqlite::memory:");
  assert.throws(() => lockManager("sqlite::memory:" as never), TypeError);
  assert.throws(() => lockManager(undefined as never), TypeError);
  assert.throws(() => lockManager(backend, 5 as never), /"expires"/);
  assert.throws(() => lockManager(backend, { expire: 5 } as never), /"expires"/);
  assert.throws(() => lockManager(backend, { expires: -1 }), RangeError);
  await lockManager(backend, { expires: null }).request("a", async () => {
    assert.equal((await backend.list({}))[0].lockedUntil, null);
  });
});

if (sessionStore) {
  test("web locks: session mode keeps exclusive locks, and refuses the others", async () => {
    await using store = await sessionStore!();
    await using backend = await store.open();
    await using other = await store.open();
    const locks = lockManager(backend);
    assert.throws(() => lockManager(backend, { expires: 5 }), UnsupportedError);
    await assert.rejects(locks.request("a", { mode: "shared" }, () => {}), UnsupportedError);
    await assert.rejects(locks.request("a", { steal: true }, () => {}), UnsupportedError);
    const { done } = await hold(locks, "n".repeat(300));
    const waits = lockManager(other).request("n".repeat(300), (lock) => lock!.mode);
    assert.deepEqual((await locks.query()).held.map(({ name, mode }) => [name.length, mode]), [[300, "exclusive"]]);
    await done();
    assert.equal(await waits, "exclusive");
  });
}
