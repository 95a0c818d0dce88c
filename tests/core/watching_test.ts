import { adoptLock, BackendError, connect, getLock, unlock, watchLocks } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { faulty } from "./faulty.ts";
import { around, test } from "./wrapping.ts";

test("a watch subscribes to held names only, and ends every subscription", async () => {
  await using real = await connect("sqlite::memory:");
  const subscribed = new Map<string, () => void>();
  const backend = around(faulty(real).backend, {
    watch: (name, wake) => {
      subscribed.set(name, wake);
      return Promise.resolve({ [Symbol.dispose]: () => void subscribed.delete(name) });
    },
  });
  const lock = await getLock("a", { backend });
  for await (const { name, holders } of watchLocks({ backend, names: ["a", "b"], interval: 3_600 })) {
    if (name === "b") {
      assert.deepEqual([...subscribed.keys()], ["a"]);
      await lock.unlock();
      subscribed.get("a")!();
    } else if (holders.length === 0) {
      assert.equal(subscribed.size, 0);
      await getLock("b", { backend });
      break;
    }
  }
  for await (const _ of watchLocks({ backend, names: ["b"] })) {
    assert.equal(subscribed.size, 1);
    break;
  }
  assert.equal(subscribed.size, 0);
});

test("a watch goes on after an outage with what has changed meanwhile", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, faults } = faulty(real);
  const lock = await getLock("a", { backend });
  await getLock("b", { backend });
  const changes = watchLocks({ backend })[Symbol.asyncIterator]();
  assert.deepEqual([(await changes.next()).value!.name, (await changes.next()).value!.name], ["a", "b"]);
  faults.list.push("lose the request", "lose the answer"); // it is repeated once
  await assert.rejects(changes.next(), BackendError);
  await lock.unlock();
  const { value } = await changes.next();
  assert.deepEqual([value!.name, value!.holders], ["a", []]);
  await changes.return!();
});

test("a watch sees that a lock is adopted, or kept without a holder", async () => {
  await using backend = await connect("sqlite::memory:");
  const changes = watchLocks({ backend, names: ["a"] })[Symbol.asyncIterator]();
  const holder = async () => (await changes.next()).value!.holders[0]?.lockedBy;
  assert.equal(await holder(), undefined);
  const lock = await getLock("a", { backend, lockedBy: "one", expires: 60 });
  assert.equal(await holder(), "one");
  await adoptLock(lock.detach(), { backend, lockedBy: "other", expires: 60 });
  assert.equal(await holder(), "other");
  await unlock("a", { backend });
  assert.equal(await holder(), undefined);
  const permanent = await getLock("a", { backend, lockedBy: "one", expires: 0 });
  assert.equal(await holder(), "one");
  await adoptLock(permanent.detach(), { backend, lockedBy: "one", expires: 0 }); // by the same program, and forever as before
  assert.equal(await holder(), "one");
  await unlock("a", { backend });
  assert.equal(await holder(), undefined);
  const kept = await getLock("a", { backend, lockedBy: "one", expires: 60, holdAtLeast: 60 });
  assert.equal(await holder(), "one");
  await kept.unlock();
  assert.equal(await holder(), "");
  await changes.return!();
});
