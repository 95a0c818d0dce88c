// deno-lint-ignore-file no-explicit-any -- what plain JavaScript may pass
import {
  adoptLock,
  cleanLocks,
  getLock,
  getLocks,
  isLocked,
  lead,
  listLocks,
  LockMgr,
  type LockOptions,
  renewLock,
  resetLocks,
  setDefaultBackend,
  setLock,
  tryLock,
  unlock,
  UnsupportedError,
  watchLocks,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

const HUNDRED_YEARS = 100 * 365.25 * 86_400;

/** Options: checked before anything is asked of the database. */
export const options: readonly Case[] = [
  always("options that are misspelt, or no object, are refused with the nearest known one", async ({ backend }) => {
    const lock = await getLock("held", { backend });
    const mgr = new LockMgr("a", { backend });
    const own = { backend };
    const calls: [call: (options: any) => unknown, wrong: object, nearest: string][] = [
      [(options) => getLock("a", options), { ...own, timeout: 5 }, "wait"],
      [(options) => getLock("a", options), { ...own, locked_by: "x" }, "lockedBy"],
      [(options) => getLock("a", options), Object.create({ expire: 5 }), "expires"],
      [(options) => tryLock("a", options), { ...own, ttl: 5 }, "expires"],
      [(options) => withLock("a", options, () => {}), { ...own, autorenew: true }, "autoRenew"],
      [(options) => getLocks(["a"], options), { ...own, timeout: 5 }, "wait"],
      [(options) => lead("a", options, () => {}), { ...own, wait: 5 }, "expires"],
      [(options) => adoptLock("a", options), { ...own, ttl: 5 }, "expires"],
      [(options) => renewLock("a", options), { ...own, add_time: true }, "addTime"],
      [(options) => renewLock(lock, options), { expiry: 5 }, "expires"],
      [(options) => lock.renew(options), { creat: true }, "create"],
      [(options) => unlock("held", options), backend, "backend"],
      [(options) => unlock(lock, options), { Backend: backend }, "backend"],
      [(options) => isLocked("a", options), { ...own, expires: 1 }, "backend"],
      [(options) => cleanLocks(options), { bakend: backend }, "backend"],
      [(options) => resetLocks(options), { ...own, prefix: "x" }, "backend"],
      [(options) => setLock("a", options), { ...own, timeout: 5 }, "expires"],
      [(options) => setLock("a", options), { ...own, wait: 5 }, "fail"],
      [(options) => setLock("a", options), { ...own, autoRenew: true }, "renew"],
      [(options) => listLocks(options), { ...own, name: "a" }, "names"],
      [(options) => new LockMgr("a", options), { ...own, expire: 5 }, "expires"],
      [(options) => LockMgr.acquire("a", options), { ...own, shared: true }, "expires"],
      [(options) => mgr.lock("b", options), { expirse: 1 }, "expires"],
      [(options) => mgr.tryLock("b", options), { waits: 1 }, "wait"],
      [(options) => mgr.renew("b", options), { addtime: true }, "addTime"],
    ];
    for (const [call, wrong, nearest] of calls) {
      const name = Object.keys(wrong).at(-1) ?? "expire";
      await assert.rejects(async () => await call(wrong), ({ name: type, message }: Error) => {
        assert.equal(type, "TypeError", message);
        assert.match(message, /^Cannot use option "\w+" of [\w.]+: want "/);
        if (wrong !== backend) assert(message.startsWith(`Cannot use option "${name}" of `), message);
        return message.includes(`want "${nearest}"`);
      }, `${call} ${name}`);
    }
    setDefaultBackend(backend);
    try {
      const calls: [call: () => unknown, says: RegExp][] = [
        [() => getLock("a", 60 as any), /this number as the options of getLock: want an object with "expires"/],
        [() => getLock("a", "host-a" as any), /this string .* with "lockedBy"/],
        [() => getLock("a", null as any), /this null .* with "expires"/],
        [() => getLock("a", [] as any), /this array .* with "expires"/],
        [() => tryLock("a", 60 as any), /"expires"/],
        [() => withLock("a", 60 as any, () => {}), /"expires"/],
        [() => withLock("a", (() => {}) as any, {} as any), /this function .* of withLock/],
        [() => adoptLock("a", 60 as any), /of adoptLock: want an object with "expires"/],
        [() => renewLock(lock, 60 as any), /of renewLock: want an object with "expires"/],
        [() => renewLock("held", true as any), /this boolean .* with "addTime"/],
        [() => lock.renew(60 as any), /"expires"/],
        [() => unlock("held", "now" as any), /"backend"/],
        [() => isLocked("held", true as any), /"backend"/],
        [() => cleanLocks("held" as any), /"backend"/],
        [() => resetLocks("held" as any), /"backend"/],
        [
          () => setLock("a", "b" as any),
          /this string .* of setLock: want an object with "lockedBy", or another of expires/,
        ],
        [() => setLock("a", ["b"] as any), /this array .* with "expires"/],
        [() => setLock("a", 60 as any), /with "expires"/],
        [() => setLock(undefined as any), /of type undefined: want a name, or an array of names$/],
        [() => getLocks("a" as any), /of type string: want an array of names$/],
        [() => listLocks("job:" as any), /with "prefix"/],
        [() => new LockMgr("a", 60 as any), /of LockMgr: want an object with "expires"/],
        [() => LockMgr.acquire("a", 60 as any), /of LockMgr: want an object with "expires"/],
        [() => mgr.lock("b", 60 as any), /of LockMgr.lock: want an object with "expires", or another of wait$/],
        [() => mgr.tryLock("b", true as any), /"expires"/],
        [() => mgr.renew("b", 60 as any), /"expires"/],
        [() => mgr.acquire(60 as any), /of LockMgr.lock: want an object with "expires"/],
        [() => mgr.renew({ expires: 30 } as any), /of type object as a lock of a manager: .*options come second/],
        [() => mgr.unlock(60 as any), /of type number as a lock of a manager: want a name, a handle/],
        [() => watchLocks("job:" as any), /of watchLocks: want an object with "prefix"/],
      ];
      for (const [call, says] of calls) {
        await assert.rejects(async () => await call(), (error: Error) => {
          assert.match(error.message, says);
          return error instanceof TypeError;
        }, String(call));
      }
      assert.equal(await withLock("a", undefined, ({ name }) => name), "a"); // all verbs take it for no options
      assert.equal(await lock.verify(), true);
      assert.deepEqual((await listLocks()).map(({ name }) => name), ["held"]);
    } finally {
      setDefaultBackend(undefined);
    }
  }),

  always("flags, signals and backends of another type are refused", async ({ backend }) => {
    const own = { backend };
    const signal = new AbortController();
    const mgr = new LockMgr("a", own);
    const flag = /^Cannot use \w+ of type (string|number|null): want a boolean$/;
    const wanted = /^Cannot use signal of type abortcontroller: want an AbortSignal$/;
    const place = /^Cannot use a value of type \w+ as the backend: want what "await connect\(…\)" returns$/;
    const calls: [call: (options: any) => unknown, options: object, says: RegExp][] = [
      [(options) => getLock("a", options), { ...own, autoRenew: "no" }, flag],
      [(options) => getLock("a", options), { ...own, shared: 1 }, flag],
      [(options) => tryLock("a", options), { ...own, steal: "false" }, flag],
      [(options) => renewLock("a", options), { ...own, addTime: "no" }, flag],
      [(options) => renewLock("a", options), { ...own, create: 1 }, flag],
      [(options) => mgr.renew("a", options), { create: null }, flag],
      [(options) => setLock("a", options), { ...own, fail: "no" }, flag],
      [(options) => setLock("a", options), { ...own, renew: 0 }, flag],
      [(options) => listLocks(options), { ...own, includeExpired: "no" }, flag],
      [(options) => getLock("a", options), { ...own, signal }, wanted],
      [(options) => lead("a", options, () => {}), { ...own, signal }, wanted],
      [(options) => watchLocks(options), { ...own, signal }, wanted],
      [(options) => getLocks(["a"], options), { backend: Promise.resolve(backend) }, place],
      [(options) => isLocked("a", options), { backend: "sqlite::memory:" }, place],
      [(options) => cleanLocks(options), { backend: null }, place],
      [({ backend }) => setDefaultBackend(backend), { backend: Promise.resolve(backend) }, place],
    ];
    for (const [call, options, says] of calls) {
      await assert.rejects(async () => await call(options), { name: "TypeError", message: says }, String(call));
    }
    assert.deepEqual(await listLocks(own), []);
  }),

  always("invalid durations are refused", async ({ backend }) => {
    const none = await getLocks([], { backend });
    const mgr = new LockMgr("a", { backend });
    for (const seconds of [NaN, -1, -Infinity, HUNDRED_YEARS + 1]) {
      await assert.rejects(getLock("a", { backend, expires: seconds }), RangeError);
      await assert.rejects(getLock("a", { backend, wait: seconds }), RangeError);
      await assert.rejects(renewLock("a", { backend, expires: seconds }), RangeError);
      await assert.rejects(setLock("a", { backend, expires: seconds }), RangeError);
      await assert.rejects(none.renew({ expires: seconds }), RangeError);
      await assert.rejects(mgr.renew("a", { expires: seconds, create: false }), RangeError);
      await assert.rejects(getLock("a", { backend, holdAtLeast: seconds }), RangeError);
    }
    await assert.rejects(
      getLock("a", { backend, holdAtLeast: Infinity }),
      /holdAtLeast Infinity: want 0 to \d+ seconds/,
    );
    await assert.rejects(
      getLock("a", { backend, holdAtLeast: -1 }),
      /holdAtLeast -1: want 0 to \d+ seconds \(100 years\)$/,
    );
    await assert.rejects(getLock("a", { backend, wait: null as unknown as number }), TypeError); // is it 0 or Infinity?
    if (!backend.keeping) await assert.rejects(getLock("a", { backend, holdAtLeast: 1 }), UnsupportedError);
    for (const seconds of ["60", {}, true, 1n] as unknown as number[]) {
      await assert.rejects(getLock("a", { backend, holdAtLeast: seconds }), TypeError);
      await assert.rejects(getLock("a", { backend, expires: seconds }), TypeError);
      await assert.rejects(getLock("a", { backend, wait: seconds }), TypeError);
    }
    assert.equal(await isLocked("a", { backend }), false);
  }),

  always("invalid lockedBy, lockProcess and metadata are refused", async ({ backend }) => {
    const wrong: LockOptions[] = [
      { lockedBy: "" },
      { lockedBy: "x\0y" },
      { lockedBy: 7 as unknown as string },
      { lockProcess: 1.5 },
      { lockProcess: "1" as unknown as number },
      { metadata: (() => 1) as unknown as string },
      { metadata: 1n as unknown as string },
    ];
    for (const options of wrong) {
      await assert.rejects(getLock("a", { backend, ...options }), (error: Error) => {
        return /^Cannot use /.test(error.message) && (error instanceof TypeError || error instanceof RangeError);
      });
    }
    assert.equal(await isLocked("a", { backend }), false);
  }),

  withRows("a hundred years, and a hundredth of a second, are durations", async ({ backend }) => {
    const long = await getLock("long", { backend, expires: HUNDRED_YEARS });
    assert(long.expiresIn! > HUNDRED_YEARS - 60);
    const short = await getLock("short", { backend, expires: 0.01 });
    assert(short.expiresIn! <= 0.01);
  }),

  always("a backend beside a handle must be the handle's own", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend });
    await assert.rejects(unlock(lock, { backend: other }), TypeError);
    await assert.rejects(isLocked(lock, { backend: other }), TypeError);
    await assert.rejects(renewLock(lock, { backend: other }), TypeError);
    await assert.rejects(lock.renew({ backend: other }), TypeError);
    assert.equal(await unlock(lock, { backend }), true);
  }),

  always("setDefaultBackend serves calls that name none", async ({ backend }) => {
    setDefaultBackend(backend);
    try {
      const lock = await getLock("a");
      assert.equal(await isLocked("a"), true);
      assert.equal((await listLocks())[0].name, "a");
      assert.equal(lock.backend, backend);
      await lock.unlock();
    } finally {
      setDefaultBackend(undefined);
    }
  }),
];
