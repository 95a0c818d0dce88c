import {
  getLock,
  isLocked,
  listLocks,
  type LockOptions,
  renewLock,
  setDefaultBackend,
  setLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

const HUNDRED_YEARS = 100 * 365.25 * 86_400;

/** Options: checked before anything is asked of the database. */
export const options: readonly Case[] = [
  always("invalid durations are refused", async ({ backend }) => {
    for (const seconds of [NaN, -1, -Infinity, HUNDRED_YEARS + 1]) {
      await assert.rejects(getLock("a", { backend, expires: seconds }), RangeError);
      await assert.rejects(getLock("a", { backend, wait: seconds }), RangeError);
      await assert.rejects(renewLock("a", { backend, expires: seconds }), RangeError);
      await assert.rejects(setLock("a", { backend, expires: seconds }), RangeError);
    }
    for (const seconds of ["60", {}, true, 1n] as unknown as number[]) {
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
      await assert.rejects(getLock("a", { backend, ...options }), (error) => {
        return error instanceof TypeError || error instanceof RangeError;
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
