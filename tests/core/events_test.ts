/** What the diagnostics channels tell, exactly once, and what their subscribers cannot break. */
import {
  type Backend,
  connect,
  getLock,
  getLocks,
  isLocked,
  type LockLoss,
  type LockTrace,
  printEvents,
  renewLock,
  setLock,
  tryLock,
  unlock,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { channel, subscribe, unsubscribe } from "node:diagnostics_channel";
import process from "node:process";
import { inspect } from "node:util";
import { aborted, deferred, RENEWED } from "../conformance/case.ts";
import { faulty } from "./faulty.ts";
import { around, test } from "./wrapping.ts";

const VERBS = ["acquire", "renew", "release"];
const EVENTS = ["start", "end", "asyncStart", "asyncEnd", "error"];

/** Subscribes until disposal. */
function listening(channels: Record<string, (message: unknown) => unknown>): Disposable {
  for (const [name, subscriber] of Object.entries(channels)) subscribe(name, subscriber as () => void);
  return {
    [Symbol.dispose]() {
      for (const [name, subscriber] of Object.entries(channels)) unsubscribe(name, subscriber as () => void);
    },
  };
}

/** Records the outcomes of each verb, and the losses, until disposal. */
function recorder() {
  const traces: (LockTrace & { verb: string })[] = [];
  const losses: LockLoss[] = [];
  const subscribers: Record<string, (message: unknown) => unknown> = {
    "lockmgr.lost": (message) => losses.push(message as LockLoss),
  };
  for (const verb of VERBS) {
    subscribers[`tracing:lockmgr.${verb}:asyncEnd`] = (message) => traces.push({ verb, ...message as LockTrace });
  }
  const outcomes = () => traces.splice(0).map(({ verb, name, outcome }) => `${verb} ${name}: ${outcome}`);
  return { traces, losses, outcomes, ...listening(subscribers) };
}

/** Lets timers run until something is so. */
async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test("events: a tracing channel publishes one object from start to asyncEnd", async () => {
  const heard: [event: string, message: LockTrace][] = [];
  await using backend = await connect("sqlite::memory:");
  const lock = await (async () => {
    using _ = listening(Object.fromEntries(
      EVENTS.map((
        event,
      ) => [`tracing:lockmgr.acquire:${event}`, (message) => heard.push([event, message as LockTrace])]),
    ));
    return await getLock("a", { backend });
  })();
  assert.deepEqual(heard.map(([event]) => event), ["start", "end", "asyncStart", "asyncEnd"]);
  assert.equal(new Set(heard.map(([, message]) => message)).size, 1);
  const { wait, ...rest } = heard[0][1];
  assert.deepEqual(rest, {
    engine: "sqlite",
    mode: "lease",
    name: "a",
    token: lock.token,
    batch: 1,
    contended: false,
    outcome: "granted",
  });
  assert(wait! >= 0 && wait! < 10_000);
  await lock.unlock(); // after the end of the subscription: not heard
  assert.equal(heard.length, 4);
});

test("events: every verb tells its outcome", async () => {
  await using backend = await connect("sqlite::memory:");
  using recorded = recorder();
  const lock = await getLock("a", { backend });
  assert.equal(await tryLock("a", { backend, wait: 0.03 }), undefined);
  const [, busy] = recorded.traces;
  assert(busy.contended && busy.wait! >= 29 && busy.token === undefined);
  await lock.renew();
  assert.deepEqual([recorded.traces[2].token, recorded.traces[2].batch], [lock.token, 1]);
  await renewLock("a", { backend });
  await setLock(["a", "b"], { backend });
  assert.deepEqual(recorded.outcomes(), [
    "acquire a: granted",
    "acquire a: busy",
    "renew a: renewed",
    "renew a: renewed",
    "acquire a: busy",
    "acquire b: granted",
    "renew a: renewed",
  ]);
  await lock.unlock();
  assert.equal(recorded.traces[0].token, lock.token);
  await unlock("a", { backend });
  await unlock("b", { backend });
  assert.deepEqual(recorded.outcomes(), ["release a: released", "release a: gone", "release b: released"]);
  await assert.rejects(renewLock("a", { backend }));
  assert.deepEqual(recorded.outcomes(), ["renew a: gone"]);
});

test("events: concurrent calls tell the size of their batch", async () => {
  await using backend = await connect("sqlite::memory:");
  using recorded = recorder();
  const locks = await Promise.all(["a", "b", "c", "d"].map((name) => getLock(name, { backend })));
  await Promise.all(locks.map((lock) => lock.unlock()));
  const sizes = (verb: string) => recorded.traces.filter((each) => each.verb === verb).map(({ batch }) => batch);
  assert.deepEqual(sizes("acquire").sort(), [1, 3, 3, 3]);
  assert(Math.max(...sizes("release").map(Number)) >= 3);
});

test("events: a call that fails publishes its error", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, faults } = faulty(real);
  const errors: LockTrace[] = [];
  using _ = listening({ "tracing:lockmgr.acquire:error": (message) => errors.push(message as LockTrace) });
  using recorded = recorder();
  faults.acquire.push("lose the request", "lose the request");
  const failure = await getLock("a", { backend }).catch((error) => error);
  const lock = await getLock("b", { backend });
  const stop = new AbortController();
  const waiting = getLock("b", { backend, wait: 60, signal: stop.signal }).catch((error) => error);
  stop.abort("enough");
  assert.equal(await waiting, "enough");
  assert.deepEqual(errors.map(({ name, error, outcome }) => [name, error, outcome]), [
    ["a", failure, "failed"],
    ["b", "enough", "failed"],
  ]);
  await lock.unlock();
  assert.deepEqual(recorded.outcomes(), [
    "acquire a: failed",
    "acquire b: granted",
    "acquire b: failed",
    "release b: released",
  ]);
});

test("events: a lock that ends with its backend is released, not lost", async () => {
  const backend = await connect("sqlite::memory:");
  using recorded = recorder();
  await getLock("a", { backend });
  await backend[Symbol.asyncDispose]();
  assert.deepEqual(recorded.outcomes(), ["acquire a: granted", "release a: disposed"]);
  assert.deepEqual(recorded.losses, []);
});

/** Every way to lose a lock: what is done with it, and the reason that is told. */
const WAYS: Record<string, [RegExp, (backend: Backend, end: () => void) => Promise<unknown>]> = {
  "expiry, although the program does not look": [/expired/, (backend) => getLock("a", { backend, expires: 0.02 })],
  "the end of its session": [/session/, async (backend, end) => {
    await getLock("a", { backend });
    end();
  }],
  "the answer to a question": [/is gone/, async (backend) => {
    const lock = await getLock("a", { backend });
    await unlock("a", { backend });
    assert.equal(await lock.verify(), false);
  }],
  "the answer to a reading": [/is gone/, async (backend) => {
    const lock = await getLock("a", { backend });
    await unlock("a", { backend });
    await assert.rejects(lock.refresh());
  }],
  "the answer to a renewal": [/gone .* renewed/, async (backend) => {
    const lock = await getLock("a", { backend });
    await unlock("a", { backend });
    await assert.rejects(lock.renew());
  }],
  "the answer to an automatic renewal": [/is gone/, async (backend) => {
    const { signal } = await getLock("a", { backend, expires: RENEWED, autoRenew: true });
    await unlock("a", { backend });
    await aborted(signal); // a signal in use keeps the handle from being collected
  }],
  "the answer to a release": [/gone .* released/, async (backend) => {
    const lock = await getLock("a", { backend });
    await unlock("a", { backend });
    assert.equal(await lock.unlock(), false);
  }],
};

for (const [way, [reason, lose]] of Object.entries(WAYS)) {
  test(`events: a loss by ${way} is told once`, async () => {
    await using real = await connect("sqlite::memory:");
    let ended: Error | undefined;
    let listener = () => {};
    const session = {
      get ended() {
        return ended;
      },
      onEnd(action: () => void) {
        listener = action;
        return () => {};
      },
    };
    const handles: Promise<unknown>[] = [];
    const backend = around(faulty(real).backend, {
      acquire: async (requests: Parameters<Backend["acquire"]>[0]) =>
        (await real.acquire(requests)).map((answer) => ({ ...answer, session })),
    });
    using recorded = recorder();
    handles.push(lose(backend, () => (ended = new Error("reset"), listener())));
    await until(() => recorded.losses.length > 0);
    const [lock] = await Promise.all(handles) as Awaited<ReturnType<typeof getLock>>[];
    await lock?.unlock();
    const { token, reason: told, ...rest } = recorded.losses[0];
    assert.deepEqual(rest, { engine: "sqlite", mode: "lease", name: "a" });
    assert.equal(token, recorded.traces[0].token);
    assert.match(told, reason);
    assert.equal(recorded.losses.length, 1);
  });
}

test("events: an ordinary release is no loss", async () => {
  await using backend = await connect("sqlite::memory:");
  using recorded = recorder();
  const lock = await getLock("a", { backend, expires: 0.1 });
  const released = await lock.unlock();
  const clock = await getLock("b", { backend, expires: 0.15 });
  await aborted(clock.signal);
  await until(() => recorded.losses.some(({ name }) => name === "b"));
  const lost = recorded.losses.map(({ name }) => name);
  assert.deepEqual(lost, released ? ["b"] : ["a", "b"]); // it expires first on a machine that stood still
});

test("events: no event has an owner", async () => {
  await using real = await connect("sqlite::memory:");
  const owners: string[] = [];
  const backend = around(faulty(real).backend, {
    acquire(...parameters: Parameters<Backend["acquire"]>) {
      owners.push(...parameters[0].map(({ owner }) => owner));
      return real.acquire(...parameters);
    },
  });
  const texts: string[] = [];
  const show = (message: unknown) => texts.push(inspect(message, { depth: 9, showHidden: true }));
  using _ = listening(Object.fromEntries([
    ...VERBS.flatMap((verb) => EVENTS.map((event) => [`tracing:lockmgr.${verb}:${event}`, show] as const)),
    ["lockmgr.lost", show],
  ]));
  const lock = await getLock("a", { backend });
  await tryLock("a", { backend });
  await lock.renew();
  await unlock("a", { backend });
  await lock.unlock();
  await setLock(["a", "b"], { backend });
  assert(owners.length >= 4 && texts.length > 20);
  for (const owner of owners) assert.equal(texts.join().includes(owner), false);
});

test("events: a subscriber that throws changes nothing, and is reported once", async () => {
  await using backend = await connect("sqlite::memory:");
  const uncaught: unknown[] = [];
  const warnings: string[] = [];
  const onUncaught = (error: unknown) => uncaught.push(error);
  const onWarning = ({ message }: Error) => warnings.push(message);
  for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, onUncaught);
  process.on("warning", onWarning);
  const store = new AsyncLocalStorage<unknown>();
  const start = channel("tracing:lockmgr.release:start");
  start.bindStore(store, () => {
    throw new Error("bound to fail");
  });
  try {
    using _ = listening({
      ...Object.fromEntries(VERBS.flatMap((verb) =>
        EVENTS.map((event) => [`tracing:lockmgr.${verb}:${event}`, () => {
          throw new Error(`${verb} ${event}`);
        }])
      )),
      "lockmgr.lost": () => Promise.reject(new Error("lost later")),
    });
    using recorded = recorder();
    for (let round = 0; round < 3; round++) {
      const result = await withLock("a", { backend }, async (lock) => (await lock.renew(), lock.held));
      assert.equal(result, true);
    }
    const lock = await getLock("a", { backend });
    const ended = aborted(lock.signal);
    await unlock("a", { backend });
    assert.equal(await lock.verify(), false);
    await ended;
    assert.equal(recorded.losses.length, 1, "the subscriber after the one that throws is told");
    assert.equal(recorded.traces.length, 3 * 3 + 2);
    await until(() => warnings.length >= VERBS.length * 4 + 2);
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.equal(new Set(warnings).size, warnings.length);
    assert(warnings.some((text) => /"tracing:lockmgr\.acquire:start" failed: Error: acquire start/.test(text)));
    assert(warnings.some((text) => /bound to fail/.test(text)));
    assert(warnings.some((text) => /"lockmgr\.lost" failed: Error: lost later/.test(text)));
    assert.deepEqual(uncaught, []);
  } finally {
    start.unbindStore(store);
    for (const event of ["uncaughtException", "unhandledRejection"]) process.off(event, onUncaught);
    process.off("warning", onWarning);
  }
});

test("events: a subscriber that freezes what it is told changes nothing", async () => {
  await using backend = await connect("sqlite::memory:");
  using _ = listening(Object.fromEntries(
    VERBS.map((verb) => [`tracing:lockmgr.${verb}:start`, (message) => void Object.freeze(message)]),
  ));
  const lock = await getLock("a", { backend });
  await lock.renew({ expires: 900 });
  assert.equal(await lock.unlock(), true);
  const locks = await getLocks(["a", "b"], { backend });
  await locks.renew();
  await locks.unlock();
  assert.equal(await isLocked("a", { backend }), false);
});

test("events: what is bound to the start of a call is there while it runs", async () => {
  await using real = await connect("sqlite::memory:");
  const store = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const backend = around(faulty(real).backend, {
    acquire(...parameters: Parameters<Backend["acquire"]>) {
      seen.push(store.getStore());
      return real.acquire(...parameters);
    },
  });
  const start = channel("tracing:lockmgr.acquire:start");
  start.bindStore(store, (message) => `span of ${(message as LockTrace).name}`);
  try {
    await getLock("a", { backend });
  } finally {
    start.unbindStore(store);
  }
  assert.deepEqual(seen, ["span of a"]);
  assert.equal(store.getStore(), undefined);
});

test("events: they can be printed, without characters that a terminal obeys", async () => {
  const lines: string[] = [];
  const done = deferred();
  using _ = printEvents((line) => {
    lines.push(line.replaceAll(/[\d.]+(?= ms)|(?<=token )\d+/g, "…"));
    if (/lost/.test(line)) done.resolve();
  });
  const failing = printEvents(() => assert.fail("it cannot be printed"));
  await using backend = await connect("sqlite::memory:");
  failing[Symbol.dispose]();
  const lock = await getLock("é\x1b[31m\x9b\u202e\u2028\u3164\u{e0041}❤\ufe0f", { backend });
  await unlock(lock.name, { backend });
  await lock.verify();
  await done.promise;
  const name = '"é\\u001b[31m\\u009b\\u202e\\u2028\\u3164\\udb40\\udc41❤\ufe0f"';
  assert.deepEqual(lines, [
    "lockmgr: open sqlite::memory:",
    `lockmgr: acquire ${name} (sqlite, lease)`,
    `lockmgr: acquire ${name}: granted after … ms (sqlite, lease, token …, batch of 1)`,
    `lockmgr: release ${name}: released after … ms (sqlite, lease, batch of 1)`,
    `lockmgr: lost ${name}: the database says that it is gone (sqlite, lease, token …)`,
  ]);
});
