import { getLock, getLocks, isLocked, lead, type Lock, LockLost, tryLock, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, always, type Case, deferred, later, RENEWED, renewedTwice, withRenewals, withRows } from "../case.ts";

/** `lead`: leader election. */
export const leading: readonly Case[] = [
  always("a leader holds the name while its body runs, and the next is elected after it", async (fixture) => {
    const { backend, another } = fixture;
    const other = await another();
    const [elected, resign] = [deferred<Lock>(), deferred()];
    const first = later(lead("a", { backend, lockedBy: "host-a" }, async (lock) => {
      elected.resolve(lock);
      await resign.promise;
    }));
    const lock = await elected.promise;
    assert.deepEqual([lock.held, lock.lockedBy, lock.expiresIn === null], [true, "host-a", backend.mode === "session"]);
    if (backend.mode !== "session") assert(lock.expiresIn! <= 30);
    assert.equal(await tryLock("a", { backend: other }), undefined);
    let second = false;
    const next = later(lead("a", { backend: other }, () => void (second = true)));
    resign.resolve();
    await Promise.all([first, next]);
    assert(second && !lock.held && !lock.signal.aborted);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  always("an aborted signal ends a candidate, and a leader once its body has ended", async ({ backend, another }) => {
    const controller = new AbortController();
    const { signal } = controller;
    const elected = deferred();
    const leader = later(lead("a", { backend, signal }, async () => {
      elected.resolve();
      throw await aborted(signal);
    }));
    await elected.promise;
    const never = () => assert.fail("elected");
    const candidate = later(lead("a", { backend: await another(), signal }, never));
    controller.abort(new Error("the process ends"));
    await Promise.all([leader, candidate, lead("b", { backend, signal }, never)]);
    await using _free = await getLocks(["a", "b"], { backend, wait: 30 });
  }),

  always("a leader whose body fails resigns, and the error is the body's", async ({ backend }) => {
    const failure = new Error("the body's own");
    const failing = () => Promise.reject(failure);
    await assert.rejects(lead("a", { backend }, failing), (error) => error === failure);
    await using lock = await getLock("a", { backend });
    assert(lock.held);
  }),

  withRows("a leader that has lost its lock is a candidate again", async ({ backend, another }) => {
    const other = await another();
    const tokens: bigint[] = [];
    const endings: ((lock: Lock) => unknown)[] = [
      () => undefined,
      ({ signal }) => Promise.reject(signal.reason),
      ({ signal }) => Promise.reject(new Error("Cannot fetch", { cause: signal.reason })),
    ];
    await lead("a", { backend, expires: 2 }, async (lock) => {
      tokens.push(lock.token);
      const ending = endings.shift();
      if (ending === undefined) return;
      const lost = aborted(lock.signal);
      assert(await unlock("a", { backend: other }));
      assert(await lost instanceof LockLost);
      await ending(lock);
    });
    assert.equal(tokens.length, 4);
    assert.deepEqual(tokens, tokens.toSorted((one, next) => Number(one - next)));
  }),

  withRenewals("a leader is renewed while its body runs", async ({ backend, another }) => {
    const other = await another();
    await lead("a", { backend, expires: RENEWED }, async (lock) => {
      await renewedTwice(other, "a");
      assert(lock.held);
    });
  }),
];
