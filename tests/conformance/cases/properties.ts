import {
  type Backend,
  isLocked,
  listLocks,
  type Lock,
  LockFail,
  LockLost,
  LockNotFound,
  renewLock,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import fc from "fast-check";
import assert from "node:assert/strict";
import { always as inEveryMode, type Case } from "../case.ts";

/** What the world should look like: who holds which name, and the last token of each. */
class Model {
  readonly held = new Map<string, Lock | "administrator">();
  readonly tokens = new Map<string, bigint>();
  readonly handles: Lock[] = [];

  granted(lock: Lock): void {
    assert(!this.held.has(lock.name), `${lock.name} was granted twice`);
    assert(lock.token > (this.tokens.get(lock.name) ?? 0n), `token of ${lock.name} did not rise`);
    this.held.set(lock.name, lock);
    this.tokens.set(lock.name, lock.token);
    this.handles.push(lock);
  }

  holds(lock: Lock): boolean {
    return this.held.get(lock.name) === lock;
  }
}

/** One step that a program may take, checked against the model. */
type Step = (model: Model, backends: readonly Backend[]) => Promise<void>;

const name = fc.constantFrom("a", "A", "b ", "b", "ß", "🔒");
const which = fc.nat({ max: 1 });
const any = fc.nat({ max: 1_000 });

/** A handle that was ever given, by a number. */
function pick(model: Model, index: number): Lock | undefined {
  return model.handles[index % Math.max(1, model.handles.length)];
}

const trying = fc.tuple(name, which).map(([name, index]): Step => async (model, backends) => {
  const lock = await tryLock(name, { backend: backends[index] });
  assert.equal(lock === undefined, model.held.has(name));
  if (lock) model.granted(lock);
});

const releasing = any.map((index): Step => async (model) => {
  const lock = pick(model, index);
  if (lock === undefined) return;
  assert.equal(await lock.unlock(), model.holds(lock));
  if (model.holds(lock)) model.held.delete(lock.name);
  assert.equal(lock.held, false);
});

const verifying = any.map((index): Step => async (model) => {
  const lock = pick(model, index);
  if (lock) assert.equal(await lock.verify(), model.holds(lock));
});

const looking = fc.tuple(name, which).map(([name, index]): Step => async (model, backends) => {
  assert.equal(await isLocked(name, { backend: backends[index] }), model.held.has(name));
});

/** Steps of every mode. */
const always = [trying, trying, releasing, verifying, looking];

const renewing = fc.tuple(any, fc.boolean()).map(([index, addTime]): Step => async (model) => {
  const lock = pick(model, index);
  if (lock === undefined) return;
  const before = lock.lockedUntil!.getTime();
  if (!model.holds(lock)) return await assert.rejects(lock.renew({ addTime }), LockLost);
  await lock.renew({ expires: 300, addTime });
  assert(lock.lockedUntil!.getTime() >= before);
});

const renewingByName = fc.tuple(name, which).map(([name, index]): Step => async (model, backends) => {
  const renew = renewLock(name, { backend: backends[index], expires: 900 });
  if (model.held.has(name)) assert.equal((await renew).token, model.tokens.get(name));
  else await assert.rejects(renew, LockNotFound);
});

const forcing = fc.tuple(name, which).map(([name, index]): Step => async (model, backends) => {
  assert.equal(await unlock(name, { backend: backends[index] }), model.held.delete(name));
});

const listing = which.map((index): Step => async (model, backends) => {
  const names = (await listLocks({ backend: backends[index], includeExpired: true })).map(({ name }) => name);
  assert.deepEqual(new Set(names), new Set(model.held.keys()));
});

const setting = fc.tuple(fc.array(name, { maxLength: 5 }), fc.boolean(), which)
  .map(([names, fail, index]): Step => async (model, backends) => {
    const busy = names.some((name) => model.held.has(name));
    const set = setLock(names, { backend: backends[index], fail });
    if (busy && fail) return await assert.rejects(set, LockFail);
    const { locks } = await set;
    for (const lock of locks) if (!model.held.has(lock.name)) model.granted(lock as Lock);
    assert.deepEqual(new Set(locks.map(({ name }) => name)), new Set(names));
  });

const cleaning = which.map((index): Step => async (_model, backends) => {
  assert.equal(await backends[index].clean("expired"), 0);
});

/** Steps of the modes that keep rows. */
const withRows = [...always, renewing, renewingByName, forcing, listing, setting, cleaning];

/** Whatever programs do, in any order. */
export const properties: readonly Case[] = [
  inEveryMode(
    "whatever two programs do, names and tokens are as the model has them",
    async (_fixture, registration) => {
      const steps = fc.array(fc.oneof(...(registration.mode === "session" ? always : withRows)), { maxLength: 40 });
      const property = fc.asyncProperty(steps, async (steps) => {
        await using fixture = await registration.open();
        const backends = [fixture.backend, await fixture.another()];
        const model = new Model();
        for (const step of steps) await step(model, backends);
      });
      await fc.assert(property, { numRuns: 30 });
    },
  ),
];
