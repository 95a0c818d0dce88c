import { type AcquireRequest, type Backend, UnsupportedError } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

/** A request for a name that never expires, which every mode takes. */
function request(name: string, owner: string): AcquireRequest {
  return { name, owner, duration: null, lockedBy: owner, lockProcess: null, metadata: null, limit: 1 };
}

/** Acquires names for one owner through the backend itself, all of them or none. */
async function acquireAll(backend: Backend, owner: string, names: readonly string[]): Promise<boolean[]> {
  const answers = await backend.acquire(names.map((name) => request(name, owner)), { allOrNothing: true });
  return answers.map(({ granted }) => granted);
}

/** What a backend answers when it is asked directly, in each mode. */
export const seam: readonly Case[] = [
  always(
    "allOrNothing: a busy name leaves the others free, wherever it is in the list",
    async ({ backend, another }) => {
      const other = await another();
      await backend.acquire([request("busy", "a")]);
      for (const names of [["busy", "x", "y"], ["x", "busy", "y"], ["x", "y", "busy"]]) {
        for (const asker of [backend, other]) {
          assert.deepEqual(await acquireAll(asker, "b", names), [false, false, false]);
          // Each of them is free for a third party at once, and nothing is left behind with the owner that failed.
          assert.deepEqual(await acquireAll(other, "c", ["x", "y"]), [true, true]);
          assert.deepEqual(await other.release([{ name: "x", owner: "c" }, { name: "y", owner: "c" }]), [true, true]);
          assert.deepEqual(await asker.release(names.map((name) => ({ name, owner: "b" }))), [false, false, false]);
        }
      }
      assert.deepEqual(await backend.release([{ name: "busy", owner: "a" }]), [true]);
    },
  ),

  always("allOrNothing: a refused request changes nothing of what its owner holds", async (fixture, { mode }) => {
    const { backend } = fixture;
    const ask = (name: string, seconds: number): AcquireRequest => {
      return { ...request(name, "a"), duration: mode === "session" ? null : seconds * 1e6 };
    };
    await (await fixture.another()).acquire([request("busy", "b")]);
    await backend.acquire([ask("own", 60)]);
    const [before] = await backend.list({ names: ["own"] });
    for (const names of [["own", "busy"], ["busy", "own"]]) {
      const answers = await backend.acquire(names.map((name) => ask(name, 600)), { allOrNothing: true });
      assert.deepEqual(answers.map(({ granted }) => granted), [false, false]);
      assert.deepEqual(answers[names.indexOf("own")], { granted: false, holder: undefined });
      const [after] = await backend.list({ names: ["own"] });
      assert.deepEqual({ ...after, now: 0 }, { ...before, now: 0 });
    }
    assert.deepEqual(await backend.release([{ name: "own", owner: "a" }]), [true]);
  }),

  always("an owner stands in no answer", async ({ backend }, { mode }) => {
    const owner = "4b0c7f3e-owner";
    const show = (answer: unknown) =>
      JSON.stringify(
        answer,
        (key, value) => key === "session" ? undefined : typeof value === "bigint" ? `${value}` : value,
      );
    const answers: unknown[] = [
      await backend.acquire([{ ...request("a", owner), lockedBy: "host" }]),
      await backend.list({}),
    ];
    answers.push(await backend.acquire([request("a", "another")]));
    if (mode !== "session") answers.push(await backend.renew([{ name: "a", owner, from: "now", add: 60e6 }]));
    for (const answer of answers) assert(!show(answer).includes(owner), `the owner stands in ${show(answer)}`);
  }),

  always("allOrNothing: a repeated request finds what it was granted", async ({ backend }) => {
    const names = ["x", "y", "z"];
    assert.deepEqual(await acquireAll(backend, "a", names), [true, true, true]);
    assert.deepEqual(await acquireAll(backend, "a", names), [true, true, true]);
    assert.deepEqual(await acquireAll(backend, "a", ["z", "w"]), [true, true]);
    assert.deepEqual(await acquireAll(backend, "b", ["v", "z"]), [false, false]);
    assert.deepEqual(await backend.release(["v", ...names].map((name) => ({ name, owner: "a" }))), [
      false,
      true,
      true,
      true,
    ]);
  }),

  always(
    "allOrNothing: of two requests for the same names in opposite orders at most one is granted",
    async (fixture) => {
      const [one, two] = [fixture.backend, await fixture.another()];
      const names = Array.from({ length: 20 }, (_, index) => `n${index}`);
      for (let round = 0; round < 5; round++) {
        const owners = [`a ${round}`, `b ${round}`]; // no two acquisitions have one owner
        const outcomes = await Promise.all([
          acquireAll(one, owners[0], names),
          acquireAll(two, owners[1], [...names].reverse()),
        ]);
        for (const answers of outcomes) assert.equal(new Set(answers).size, 1);
        assert(outcomes.filter(([granted]) => granted).length <= 1);
        const free = (backend: Backend, owner: string) => backend.release(names.map((name) => ({ name, owner })));
        const freed = [await free(one, owners[0]), await free(two, owners[1])];
        assert.deepEqual(freed.map((each) => each[0]), outcomes.map(([granted]) => granted));
      }
    },
  ),

  always("session mode refuses force, renewal and reset", async ({ backend, another }, { mode }) => {
    if (mode !== "session") return;
    await backend.acquire([request("a", "x")]);
    const release = (...owners: (string | null)[]) => owners.map((owner) => ({ name: "a", owner }));
    for (const each of [backend, await another()]) {
      await assert.rejects(each.release(release(null)), UnsupportedError);
      await assert.rejects(each.release(release("other", null)), UnsupportedError);
      await assert.rejects(each.clean("all"), UnsupportedError);
      await assert.rejects(each.renew([{ name: "a", owner: "x", from: "now", add: 1e6 }]), UnsupportedError);
      assert.equal(await each.clean("expired"), 0);
    }
    assert.equal(await backend.verify!({ name: "a", owner: "x" }), true);
    assert.deepEqual(await backend.release(release("x")), [true]);
  }),

  withRows("a release by name frees any holder's lock", async ({ backend, another }) => {
    await backend.acquire([request("a", "x"), request("b", "x")]);
    const targets = [{ name: "a", owner: null }, { name: "b", owner: null }, { name: "c", owner: null }];
    assert.deepEqual(await (await another()).release(targets), [true, true, false]);
  }),
];
