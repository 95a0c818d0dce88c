import {
  type Backend,
  cleanLocks,
  getLock,
  listLocks,
  type Lock,
  LockTimeout,
  renewLock,
  resetLocks,
  tryLock,
  unlock,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, allEnded, always, type Case, later, turn, unlessPaused, within, withQueue } from "../case.ts";

/** Resolves when so many clients wait for the name. */
async function waitersOf(backend: Backend, name: string, count: number): Promise<void> {
  while ((await listLocks({ backend, names: [name] }))[0]?.waiters !== count) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** How long a grant to a waiter lasts (ms) until its client confirms it. */
const UNCONFIRMED_MS = 1_500;

/** After this time (ms) a caller that gives up is told so, although its place in the queue may not be given back yet. */
const LEAVE_MS = 500;

/** Checks the number of waiters for "a" after one of them has given up. */
async function afterGivingUp(backend: Backend, waiters: number, giveUp: () => Promise<unknown>): Promise<void> {
  const startedAt = performance.now();
  await giveUp();
  const toldAt = performance.now();
  const patience = toldAt - startedAt < LEAVE_MS ? 0 : 5_000;
  while ((await listLocks({ backend, names: ["a"] }))[0].waiters !== waiters) {
    assert(performance.now() - toldAt < patience, "it still waits");
    await turn();
  }
}

/** Lets several backends wait for a name, one after the other; returns the promises of their locks. */
async function queueUp(
  backends: readonly Backend[],
  name: string,
  options: readonly { readonly shared?: boolean; readonly limit?: number }[],
): Promise<Promise<Lock>[]> {
  const waiting: Promise<Lock>[] = [];
  for (const [index, backend] of backends.entries()) {
    waiting.push(later(getLock(name, { backend, wait: 60, ...options[index] })));
    await waitersOf(backend, name, index + 1);
  }
  return waiting;
}

/** How long after each other callers come (ms): longer if on a busy machine they were not served in that order. */
const APART_MS = [50, 250, 1_000];

/** Checks that callers, by their clients, are served in the order in which they come, and release at once. */
export async function areServedInOrder(holder: Backend, clients: readonly Backend[]): Promise<void> {
  const expected = clients.map((_, index) => index);
  let served: number[] = [];
  for (const apart of APART_MS) {
    served = [];
    const lock = await getLock("a", { backend: holder });
    const callers: Promise<number>[] = [];
    for (const [index, backend] of clients.entries()) {
      callers.push(later(withLock("a", { backend, wait: 60 }, () => served.push(index))));
      await waitersOf(holder, "a", new Set(clients.slice(0, index + 1)).size);
      await new Promise((resolve) => setTimeout(resolve, apart));
    }
    await lock.unlock();
    await allEnded(callers);
    if (served.join() === expected.join()) return;
  }
  assert.deepEqual(served, expected);
}

/** Shared and counted locks, and the order between clients. */
export const queueing: readonly Case[] = [
  withQueue("shared locks admit each other, and exclude an exclusive one", async ({ backend, another }) => {
    const other = await another();
    const one = await getLock("a", { backend, shared: true });
    const two = await getLock("a", { backend: other, shared: true });
    const three = await getLock("a", { backend, shared: true });
    assert(one.token < two.token && two.token < three.token);
    assert.deepEqual([one.limit, two.limit], [Infinity, Infinity]);
    assert.equal(await tryLock("a", { backend }), undefined);
    const listed = (await listLocks({ backend })).map(({ token, session }) => [token, session]);
    assert.deepEqual(listed, [one, two, three].map(({ token, session }) => [token, session]));
    assert.equal(await one.unlock(), true);
    assert.equal(await one.unlock(), false);
    assert.equal(await two.verify(), true);
    assert.equal(await three.unlock(), true);
    assert.equal(await tryLock("a", { backend: other }), undefined);
    assert.equal(await two.unlock(), true);
    assert((await getLock("a", { backend })).token > three.token);
  }),

  withQueue("a limit admits so many holders, and the smallest in force counts", async ({ backend, another }) => {
    const other = await another();
    const held = [await getLock("a", { backend, limit: 3 }), await getLock("a", { backend: other, limit: 3 })];
    assert.equal(await tryLock("a", { backend, limit: 2 }), undefined);
    held.push(await getLock("a", { backend, limit: 5 }));
    assert.equal(await tryLock("a", { backend: other, limit: 5 }), undefined);
    assert.equal(await tryLock("a", { backend: other, shared: true }), undefined);
    await held[0].unlock();
    assert.equal((await tryLock("a", { backend: other, limit: 3 }))?.held, true);
  }),

  withQueue("each holder renews and loses its own lease", async ({ backend, another }) => {
    const other = await another();
    const short = await getLock("a", { backend, limit: 2, expires: 0.2 });
    const long = await getLock("a", { backend: other, limit: 2, expires: 60 });
    await long.renew({ expires: 120 });
    assert(long.expiresIn! > 110);
    await aborted(short.signal);
    const next = await getLock("a", { backend, limit: 2, wait: 10 });
    assert.equal(await long.verify(), true);
    assert(next.token > long.token);
    assert.equal(await short.unlock(), false);
    assert.equal((await listLocks({ backend })).length, 2);
  }),

  withQueue("a renewal by name adds the time to each holder's lease, once", async ({ backend, another }) => {
    const locks = [
      await getLock("a", { backend, shared: true }),
      await getLock("a", { backend: await another(), shared: true }),
    ];
    const before = locks.map(({ lockedUntil }) => lockedUntil!.getTime());
    await renewLock("a", { backend, expires: 60, addTime: true });
    await Promise.all(locks.map((lock) => lock.refresh()));
    assert.deepEqual(locks.map(({ lockedUntil }, index) => lockedUntil!.getTime() - before[index]), [60_000, 60_000]);
  }),

  withQueue("clients are served in the order in which they came", async ({ backend, another }) => {
    const holder = await getLock("a", { backend });
    const waiters = await queueUp([await another(), await another(), await another()], "a", []);
    assert.equal(await tryLock("a", { backend }), undefined);
    await holder.unlock();
    assert.equal(await tryLock("a", { backend }), undefined, "a try overtook those that wait");
    let token = holder.token;
    for (const [index, waiter] of waiters.entries()) {
      const lock = await waiter;
      assert(lock.token > token);
      token = lock.token;
      assert.equal((await listLocks({ backend, names: ["a"] }))[0].token, token, `waiter ${index}`);
      await lock.unlock();
    }
    assert.deepEqual(await listLocks({ backend }), []);
  }),

  withQueue("a loop of attempts never gets a name that others wait for", async ({ backend, another }) => {
    const other = await another();
    const holder = await getLock("a", { backend });
    const [waiter] = await queueUp([other], "a", []);
    let waits = true;
    const loop = later((async () => {
      const overtook: Lock[] = [];
      while (waits) {
        const lock = await tryLock("a", { backend });
        if (lock && waits) overtook.push(lock);
        else await lock?.unlock();
      }
      return overtook;
    })());
    await holder.unlock();
    const lock = await waiter;
    waits = false;
    assert.deepEqual(await loop, []);
    assert(lock.held);
  }),

  withQueue("clients with several waiters take turns, whose holders release at once", async ({ backend, another }) => {
    const [one, other] = [await another(), await another()];
    await areServedInOrder(backend, [one, other, one, other, one, other]);
  }),

  withQueue("a loop of attempts gets no name between the waiters of one client", async ({ backend, another }) => {
    const other = await another();
    const holder = await getLock("a", { backend });
    let left = 10;
    const hold = async () => {
      const lock = await getLock("a", { backend: other, wait: 60 });
      left--;
      await lock.unlock(); // at once: the next waiter has hardly heard that it is the head
    };
    const waiters = Array.from({ length: left }, () => later(hold()));
    await waitersOf(backend, "a", 1);
    await holder.unlock();
    while (left > 0) {
      const lock = await tryLock("a", { backend });
      assert(lock === undefined || left === 0, `overtook ${left} waiters`);
      await lock?.unlock();
    }
    await Promise.all(waiters);
  }),

  withQueue("readers at the head are granted together, and wait behind a writer", async ({ backend, another }) => {
    const others = [await another(), await another(), await another(), await another()];
    const holder = await getLock("a", { backend });
    const shared = { shared: true };
    const [reader, second, writer, late] = await queueUp(others, "a", [shared, shared, {}, shared]);
    await holder.unlock();
    const together = await Promise.all([reader, second]);
    assert.equal(await tryLock("a", { backend, shared: true }), undefined, "a reader overtook a writer");
    await together[0].unlock();
    await waitersOf(backend, "a", 2);
    await together[1].unlock();
    const written = await writer;
    assert.equal(written.limit, 1);
    await written.unlock();
    assert((await late).token > written.token);
  }),

  withQueue("a waiter that gives up leaves the queue", async ({ backend, another }) => {
    const [one, two, three] = [await another(), await another(), await another()];
    const holder = await getLock("a", { backend });
    const controller = new AbortController();
    const abandoned = later(getLock("a", { backend: one, wait: 60, signal: controller.signal }));
    await waitersOf(backend, "a", 1);
    await afterGivingUp(backend, 1, () => assert.rejects(getLock("a", { backend: two, wait: 0.05 }), LockTimeout));
    const ended = later(assert.rejects(getLock("a", { backend: two, wait: 60 }), { name: "BackendError" }));
    await waitersOf(backend, "a", 2);
    const waiting = later(getLock("a", { backend: three, wait: 60 }));
    await waitersOf(backend, "a", 3);
    await afterGivingUp(backend, 2, () => (controller.abort(new Error("enough")), assert.rejects(abandoned, /enough/)));
    await afterGivingUp(backend, 1, () => Promise.all([two[Symbol.asyncDispose](), ended]));
    await holder.unlock();
    await (await waiting).unlock();
    assert.deepEqual(await listLocks({ backend, includeExpired: true }), []);
  }),

  withQueue("a grant that comes as the waiter gives up is passed on", async ({ backend, another }) => {
    const [one, two] = [await another(), await another()];
    const passedOn = async () => {
      const holder = await getLock("a", { backend });
      const controller = new AbortController();
      const gone = getLock("a", { backend: one, wait: 60, signal: controller.signal }).then(
        (lock) => lock.unlock(),
        () => {},
      );
      await waitersOf(backend, "a", 1);
      const waiting = later(getLock("a", { backend: two, wait: 60 }));
      await waitersOf(backend, "a", 2);
      const released = later(holder.unlock());
      controller.abort();
      await Promise.all([released, gone]);
      const from = performance.now();
      await (await waiting).unlock();
      return performance.now() - from;
    };
    for (let round = 0; round < 5; round++) await within(1_400, passedOn); // an unconfirmed grant expires after 1.5 s
  }),

  withQueue("a dead waiter at the head delays the next one by less than 2 s", async ({ backend, another }) => {
    const other = await another();
    await within(2_000, async (tries) => {
      const holder = await getLock("a", { backend });
      const owner = `dead ${tries}`;
      const dead = { name: "a", owner, lockedBy: "dead", lockProcess: null, metadata: null };
      await backend.acquire([{ ...dead, duration: 60e6, limit: 1, window: 60e6 }]);
      const waiting = later(getLock("a", { backend: other, wait: 60 }));
      await waitersOf(backend, "a", 2);
      await holder.unlock();
      const from = performance.now();
      await using lock = await waiting;
      const took = performance.now() - from;
      await (await getLock("b", { backend: other })).unlock();
      const pair = performance.now() - from - took; // on a busy machine each statement takes its time
      assert.deepEqual(await backend.renew([{ name: "a", owner, from: "now", add: 60e6 }]), [undefined]);
      assert(await lock.verify());
      return took - 3 * pair;
    });
  }),

  withQueue("a lock that a release granted lasts as long as was asked for", async ({ backend, another }) => {
    const other = await another();
    const holder = await getLock("a", { backend });
    const [waiting] = await queueUp([other], "a", []);
    const forever = later(getLock("b", { backend: other, wait: 60, expires: null }));
    const first = await getLock("b", { backend }).catch(() => undefined);
    await first?.unlock();
    await holder.unlock();
    const lock = await waiting;
    while ((await listLocks({ backend, names: ["a"] }))[0].expiresIn! < 590) await turn();
    assert(await lock.verify());
    assert(lock.expiresIn! > 590);
    assert.equal((await forever).lockedUntil, null);
  }),

  withQueue("a granted lock lasts as long as was asked for, however the request is repeated", async (fixture) => {
    const { backend, another } = fixture;
    for (const [index, other] of [await another(), await another()].entries()) {
      const requestFor = (name: string) => ({
        ...{ name, owner: `${name}${index}`, lockedBy: "host", lockProcess: null, metadata: null, limit: 1 },
        ...{ duration: 600e6, window: 60e6 },
      });
      const waits = requestFor("a");
      const holder = await getLock("a", { backend });
      assert.equal((await other.acquire([waits]))[0].granted, false);
      await holder.unlock();
      const repeats = index === 0 ? other : await another(); // one that has not seen the name is as good
      const [answer] = await repeats.acquire(index === 0 ? [waits, requestFor("b")] : [waits]);
      assert(answer.granted);
      assert(answer.row.lockedUntil! - answer.row.now > 590e6);
      assert((await listLocks({ backend, names: ["a"] }))[0].expiresIn! > 590);
      assert.deepEqual(await repeats.release([waits]), [true]);
    }
  }),

  withQueue("what a waiter says of itself is kept when a release grants it the lock", async ({ backend, another }) => {
    const waiters = [await another(), await another(), await another()];
    const said = "\"a\\\\b\\\" 'c' \n\u2028 é😀 %_${d}";
    const metadata = JSON.stringify({ [said]: [said, null, 1.5e300, true, {}] });
    const own = { lockedBy: said, lockProcess: 4711, metadata };
    const requests = waiters.map((_, index) => {
      return { name: said, owner: `w${index}`, ...own, limit: 1, duration: 60e6, window: 60e6 };
    });
    const holder = await getLock(said, { backend });
    for (const [index, waiter] of waiters.entries()) {
      const [answer] = await waiter.acquire([requests[index]]);
      assert.equal(!answer.granted && answer.position, index + 1);
    }
    await holder.unlock();
    for (const [index, waiter] of waiters.entries()) {
      const [answer] = await waiter.acquire([requests[index]]);
      assert(answer.granted);
      const [listed] = await backend.list({ names: [said] });
      for (const row of [answer.row, listed]) {
        const { lockedBy, lockProcess } = row;
        assert.deepEqual({ lockedBy, lockProcess, metadata: JSON.parse(row.metadata!) }, {
          ...own,
          metadata: JSON.parse(metadata),
        });
      }
      assert.deepEqual(await waiter.release([requests[index]]), [true]);
    }
  }),

  withQueue("wanted aborts when another client waits", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend });
    const { wanted } = lock;
    await lock.renew();
    assert.equal(wanted.aborted, false);
    const [waiting] = await queueUp([other], "a", []);
    await lock.renew();
    assert.equal(wanted.aborted, true);
    assert.equal(lock.signal.aborted, false);
    assert.equal(lock.waiters, 1);
    await lock.unlock();
    assert.equal((await waiting).wanted.aborted, false);
  }),

  withQueue("steal replaces every holder, ahead of the queue, which goes on", async ({ backend, another }) => {
    const [one, two] = [await another(), await another()];
    const victims = [await getLock("a", { backend, limit: 2 }), await getLock("a", { backend: one, limit: 2 })];
    const [waiting] = await queueUp([two], "a", []);
    const stolen = await getLock("a", { backend, steal: true });
    assert.equal((await aborted(victims[0].signal) as Error).name, "LockLost");
    await assert.rejects(victims[1].renew(), { name: "LockLost" });
    assert.deepEqual(await Promise.all(victims.map((victim) => victim.unlock())), [false, false]);
    const [record, ...more] = await listLocks({ backend });
    assert.deepEqual([record.token, record.waiters, more.length], [stolen.token, 1, 0]);
    await stolen.unlock();
    assert((await waiting).token > stolen.token);
  }),

  withQueue("a release by name frees all holders and serves the waiters", async ({ backend, another }) => {
    const other = await another();
    await getLock("a", { backend, shared: true });
    const second = await getLock("a", { backend, shared: true });
    const [waiting] = await queueUp([other], "a", []);
    assert.equal(await unlock({ name: "a", token: second.token }, { backend }), true);
    assert.equal(await unlock("a", { backend }), true);
    const lock = await waiting;
    assert.equal((await listLocks({ backend })).length, 1);
    const [next] = await queueUp([backend], "a", []);
    assert.equal(await resetLocks({ backend: other }), 1);
    assert((await next).token > lock.token);
  }),

  withQueue("clean-up frees expired holders and serves the waiters", async ({ backend, another }) => {
    const other = await another();
    const expiring = [1, 2].map((index) => ({
      ...{ name: "a", owner: `expiring ${index}`, lockedBy: "x", lockProcess: null, metadata: null },
      ...{ duration: 300_000, limit: 2 },
    }));
    await unlessPaused(async () => { // a pause may let the first lease expire
      await cleanLocks({ backend });
      for (const request of expiring) await backend.acquire([request]);
      while ((await listLocks({ backend })).length > 0) await turn();
      assert.equal((await listLocks({ backend, includeExpired: true })).length, 2);
    });
    assert.equal(await cleanLocks({ backend: other }), 2);
    assert.deepEqual(await listLocks({ backend, includeExpired: true }), []);
    assert((await getLock("a", { backend })).held);
  }),

  withQueue("counted locks never exceed their limit in a stress of 24 tasks", async ({ backend, another }) => {
    const backends = [backend, await another(), await another()];
    let inside = 0;
    let most = 0;
    let full = () => {};
    const reached = new Promise<void>((resolve) => full = resolve);
    await Promise.all(Array.from({ length: 24 }, async (_, index) => {
      for (let round = 0; round < 3; round++) {
        await withLock("a", { backend: backends[index % 3], limit: 3, wait: 60 }, async () => {
          most = Math.max(most, ++inside);
          if (inside === 3) full();
          await reached;
          await new Promise((resolve) => setTimeout(resolve, 1));
          inside--;
        });
      }
    }));
    assert.equal(most, 3);
    assert.deepEqual(await listLocks({ backend, includeExpired: true }), []);
  }),

  withQueue("a long queue is served in order, and one with metadata of 1 MB", async ({ backend }) => {
    const metadata = JSON.stringify("m".repeat(1_000_000));
    const request = { lockedBy: "x", lockProcess: null, duration: 600e6, limit: 1, window: 600e6 };
    let late = false;
    for (const { name, count, large } of [{ name: "a", count: 60, large: 60 }, { name: "b", count: 4, large: 2 }]) {
      const owners = Array.from({ length: count }, (_, index) => `owner ${index}`);
      for (const [index, owner] of owners.entries()) {
        const [answer] = await backend.acquire([
          { ...request, name, owner, metadata: index >= large ? metadata : null },
        ]);
        assert.equal(answer.granted ? 0 : answer.position, index);
      }
      let grantedAt = Infinity; // no grant is earlier than the request for the release before it
      let isGranted = true;
      for (const owner of owners) {
        const askedAt = performance.now();
        const [released] = await backend.release([{ name, owner }]);
        assert(released || !isGranted || performance.now() - grantedAt > UNCONFIRMED_MS, owner);
        grantedAt = askedAt;
        isGranted = released || !isGranted; // a release of what has expired may give the lock to no other
        late ||= !released;
      }
    }
    assert.deepEqual(await listLocks({ backend, includeExpired: !late }), []);
  }),

  withQueue("a thousand waiters of one process are one client, and leave nothing", async ({ backend, another }) => {
    const other = await another();
    const holder = await getLock("a", { backend: other });
    const controller = new AbortController();
    const options = { backend, wait: 60, signal: controller.signal };
    const waiting = Array.from({ length: 1_000 }, () => getLock("a", options).catch((error) => error));
    await waitersOf(other, "a", 1);
    controller.abort(new Error("enough"));
    assert.deepEqual(new Set((await Promise.all(waiting)).map(({ message }) => message)), new Set(["enough"]));
    await waitersOf(other, "a", 0);
    await holder.unlock();
    assert.equal((await getLock("a", { backend: other })).waiters, 0);
  }),

  always("malformed shared, limit and steal are refused", async ({ backend }) => {
    for (const limit of [0, -1, 1.5, NaN, Infinity, 1e9]) {
      await assert.rejects(getLock("a", { backend, limit }), RangeError);
    }
    for (const wrong of [{ limit: "3" }, { shared: 1 }, { steal: "yes" }, { shared: true, limit: 2 }]) {
      await assert.rejects(getLock("a", { backend, ...wrong as object }), TypeError);
    }
    for (const wrong of [{ shared: true }, { limit: 2 }]) {
      await assert.rejects(getLock("a", { backend, steal: true, ...wrong }), TypeError);
    }
    if (backend.queueing) return;
    for (const refused of [{ shared: true }, { limit: 2 }, { steal: true }]) {
      await assert.rejects(getLock("a", { backend, ...refused }), { name: "UnsupportedError" });
    }
  }),
];
