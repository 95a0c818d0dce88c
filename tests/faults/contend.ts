import { type Backend, getLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";

/** Workers that take turns at one name. */
export interface Contention {
  /** How many turns there were. */
  turns(): number;
  /** Ends the work; rejects when two workers held the lock, or a token was not higher than the last one. */
  end(): Promise<void>;
}

/** Lets a worker on each backend acquire one lock, verify it and release it, again and again; each waits so long (s). */
export function contend(backends: readonly Backend[], wait: number): Contention {
  let [holders, turns, last, ended] = [0, 0, 0n, false];
  const working = Promise.all(backends.map(async (backend) => {
    while (!ended) {
      const lock = await getLock("a", { backend, wait });
      assert.equal(++holders, 1, "two hold it");
      assert(lock.token > last, `${lock.token} after ${last}`);
      [last, turns] = [lock.token, turns + 1];
      await lock.verify();
      holders--;
      assert.equal(await lock.unlock(), true);
    }
  }));
  return {
    turns: () => turns,
    async end() {
      ended = true;
      await working;
    },
  };
}
