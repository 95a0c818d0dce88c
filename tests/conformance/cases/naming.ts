import { getLock, isLocked, listLocks, tryLock, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

const DISTINCT = [
  "a",
  "A",
  "á",
  "a\u0301",
  "a ",
  " a",
  "a\n",
  "a\t",
  "%",
  "_",
  "a%",
  "a_",
  "a'b",
  'a"b',
  "a\\b",
  "ß",
  "ss",
  "ＡＢ",
];
const LONGEST = ["x".repeat(255), "é".repeat(255), "漢".repeat(255), "🔒".repeat(255), `${"x".repeat(254)}y`];

/** Names: any string of 1 to 255 code points, compared exactly. */
export const naming: readonly Case[] = [
  always("case, accents and spaces count in names", async ({ backend, another }) => {
    const other = await another();
    const locks = [];
    for (const name of DISTINCT) locks.push(await getLock(name, { backend }));
    for (const name of DISTINCT) assert.equal(await tryLock(name, { backend: other }), undefined, name);
    for (const lock of locks) assert.equal(await lock.unlock(), true);
    for (const name of DISTINCT) assert.equal(await isLocked(name, { backend }), false);
  }),

  always("names of 255 code points of any script are distinguished to the last one", async ({ backend, another }) => {
    const other = await another();
    for (const name of LONGEST) assert((await getLock(name, { backend })).held);
    for (const name of LONGEST) assert.equal(await tryLock(name, { backend: other }), undefined);
  }),

  withRows("names come back as they were given", async ({ backend }) => {
    for (const name of [...DISTINCT, ...LONGEST]) await getLock(name, { backend });
    const names = (await listLocks({ backend })).map(({ name }) => name);
    assert.deepEqual(new Set(names), new Set([...DISTINCT, ...LONGEST]));
  }),

  always("a malformed name is refused before any request", async ({ backend }) => {
    for (const name of ["", "x".repeat(256), "🔒".repeat(256)]) {
      await assert.rejects(getLock(name, { backend }), RangeError);
      await assert.rejects(isLocked(name, { backend }), RangeError);
    }
    for (const name of ["a\0b", "\ud800", "a\udc00", undefined, null, 7, {}]) {
      await assert.rejects(getLock(name as string, { backend }), TypeError);
      await assert.rejects(unlock(name as string, { backend }), TypeError);
    }
    assert.deepEqual(await listLocks({ backend }), []);
  }),
];
