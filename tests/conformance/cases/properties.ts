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
import assert from "node:assert/strict";
import { always, type Case } from "../case.ts";

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

/** Random choices that a seed repeats (xorshift32). */
class Choices {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  name(): string {
    return this.of(["a", "A", "b ", "b", "ß", "🔒"]);
  }
}

/** What a step works on. */
interface Scene {
  readonly model: Model;
  readonly backends: readonly Backend[];
  readonly choices: Choices;
}

/** One step that a program may take, checked against the model. */
type Step = (scene: Scene) => Promise<void>;

/** Any handle that was ever granted. */
function anyHandle({ model, choices }: Scene): Lock | undefined {
  return model.handles.length === 0 ? undefined : choices.of(model.handles);
}

const trying: Step = async ({ model, backends, choices }) => {
  const name = choices.name();
  const lock = await tryLock(name, { backend: choices.of(backends) });
  assert.equal(lock === undefined, model.held.has(name));
  if (lock) model.granted(lock);
};

const releasing: Step = async (scene) => {
  const { model } = scene;
  const lock = anyHandle(scene);
  if (lock === undefined) return;
  assert.equal(await lock.unlock(), model.holds(lock));
  if (model.holds(lock)) model.held.delete(lock.name);
  assert.equal(lock.held, false);
};

const verifying: Step = async (scene) => {
  const lock = anyHandle(scene);
  if (lock) assert.equal(await lock.verify(), scene.model.holds(lock));
};

const looking: Step = async ({ model, backends, choices }) => {
  const name = choices.name();
  assert.equal(await isLocked(name, { backend: choices.of(backends) }), model.held.has(name));
};

const renewing: Step = async (scene) => {
  const lock = anyHandle(scene);
  if (lock === undefined) return;
  const addTime = scene.choices.below(2) === 1;
  const before = lock.lockedUntil!.getTime();
  if (!scene.model.holds(lock)) return await assert.rejects(lock.renew({ addTime }), LockLost);
  await lock.renew({ expires: 300, addTime });
  assert(lock.lockedUntil!.getTime() >= before);
};

const renewingByName: Step = async ({ model, backends, choices }) => {
  const name = choices.name();
  const renew = renewLock(name, { backend: choices.of(backends), expires: 900 });
  if (model.held.has(name)) assert.equal((await renew).token, model.tokens.get(name));
  else await assert.rejects(renew, LockNotFound);
};

const forcing: Step = async ({ model, backends, choices }) => {
  const name = choices.name();
  assert.equal(await unlock(name, { backend: choices.of(backends) }), model.held.delete(name));
};

const listing: Step = async ({ model, backends, choices }) => {
  const records = await listLocks({ backend: choices.of(backends), includeExpired: true });
  assert.deepEqual(new Set(records.map(({ name }) => name)), new Set(model.held.keys()));
};

const setting: Step = async ({ model, backends, choices }) => {
  const names = Array.from({ length: choices.below(6) }, () => choices.name());
  const fail = choices.below(2) === 1;
  const busy = names.some((name) => model.held.has(name));
  const set = setLock(names, { backend: choices.of(backends), fail });
  if (busy && fail) return await assert.rejects(set, LockFail);
  const { locks } = await set;
  for (const lock of locks) if (!model.held.has(lock.name)) model.granted(lock as Lock);
  assert.deepEqual(new Set(locks.map(({ name }) => name)), new Set(names));
};

const cleaning: Step = async ({ backends, choices }) => {
  assert.equal(await choices.of(backends).clean("expired"), 0);
};

/** Steps of every mode. */
const COMMON = [trying, trying, releasing, verifying, looking];
/** Steps of the modes that keep rows. */
const WITH_ROWS = [...COMMON, renewing, renewingByName, forcing, listing, setting, cleaning];
/** Random programs that are tried, and the steps of each at most. */
const PROGRAMS = 12;
const MOST_STEPS = 40;

/** Any sequence of steps. */
export const properties: readonly Case[] = [
  always(
    "after any sequence of calls by two clients, holders and tokens are those of the model",
    async (_fixture, { mode, open }) => {
      for (let program = 0; program < PROGRAMS; program++) {
        const seed = 1 + Math.floor(Math.random() * 2 ** 31);
        const choices = new Choices(seed);
        await using fixture = await open();
        const scene = { model: new Model(), backends: [fixture.backend, await fixture.another()], choices };
        for (let step = choices.below(MOST_STEPS) + 1; step > 0; step--) {
          const next = choices.of(mode === "session" ? COMMON : WITH_ROWS);
          await next(scene).catch((cause) => {
            throw new Error(`seed ${seed}, ${step} steps before the end: ${cause.message}`, { cause });
          });
        }
      }
    },
  ),
];
