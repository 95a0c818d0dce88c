/**
 * What the session layer promises on every engine that has one: `session` and `hybrid` locks end with their connection.
 *
 * @module
 */
import {
  type AcquireRequest,
  type Backend,
  BackendError,
  getLock,
  isLocked,
  listLocks,
  type Lock,
  LockLost,
  type Mode,
  tryLock,
} from "@lockmgr/lockmgr";
import type { LockLoss } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import process from "node:process";
import { aborted, later, unlessPaused } from "../conformance/case.ts";
import { start } from "../processes/spawn.ts";

/** A mode whose locks end with their session. */
export type SessionMode = Exclude<Mode, "lease">;

/** A database of one test's own. */
export interface SessionFixture {
  /** Its address, with the library's parameters for a mode. */
  urlOf(mode: SessionMode): string;
  /** A backend on it, closed with the fixture. */
  backend(options: { mode: SessionMode; sessionTimeout?: number }): Promise<Backend>;
  /** Ends a session at the server. */
  terminate(session: string): Promise<unknown>;
  /** Cancels the statement that a session is running. */
  cancel(session: string): Promise<unknown>;
  /** How many connections hold locks. */
  connections(): Promise<number>;
}

/** One test. */
export interface SessionCase {
  readonly name: string;
  readonly run: (fixture: SessionFixture) => Promise<void>;
}

/** Requests of one owner for several names. */
function requestsFor(names: readonly string[], owner = "me"): AcquireRequest[] {
  const rest = { duration: null, lockedBy: "x", lockProcess: null, metadata: null, limit: 1 };
  return names.map((name) => ({ name, owner, ...rest }));
}

/** So many names. */
function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `name ${index}`);
}

/** Comes back when the condition holds. */
async function until(what: string, holds: () => Promise<boolean>, seconds = 20): Promise<void> {
  for (const startedAt = performance.now(); !await holds();) {
    if (performance.now() - startedAt > seconds * 1e3) throw new Error(`Not so after ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** How long (ms) an idle machine takes to end a killed process. */
const ENDING_MS = 20;

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Tests of both modes. */
function casesOf(mode: SessionMode): SessionCase[] {
  const test = (name: string, run: SessionCase["run"]) => ({ name: `${mode}: ${name}`, run });
  return [
    test("a killed holder hands its lock over within 100 ms (median)", async (fixture) => {
      const backend = await fixture.backend({ mode });
      const times: number[] = [];
      for (let round = 0; round < 7; round++) {
        await using holder = start("tests/processes/holder.ts", [fixture.urlOf(mode), "a"]);
        const { token } = await holder.next<{ token: string }>();
        assert.equal(await tryLock("a", { backend }), undefined);
        const waiting = later(getLock("a", { backend, wait: 30 }));
        await sleep(100);
        const killedAt = performance.now();
        const ending = holder.ended.then(() => performance.now() - killedAt);
        holder.child.kill("SIGKILL");
        const lock = await waiting;
        const grantedAt = performance.now();
        await (await getLock("b", { backend })).unlock();
        const pair = performance.now() - grantedAt;
        // a busy machine ends a killed process late, and answers each statement late
        times.push(grantedAt - killedAt - pair - Math.max(0, Math.min(await ending, grantedAt - killedAt) - ENDING_MS));
        assert(lock.token > BigInt(token));
        await lock.unlock();
      }
      const median = times.sort((a, b) => a - b)[3];
      assert(median < 100, `median ${median} ms of ${times}`);
    }),

    test("a thousand held locks are at most four connections", async (fixture) => {
      const backend = await fixture.backend({ mode });
      const before = await fixture.connections();
      const locks = await Promise.all(numbered(1_000).map((name) => getLock(name, { backend })));
      assert((await fixture.connections()) - before <= 4);
      assert.equal((await backend.list({})).length, 1_000);
      const other = await fixture.backend({ mode });
      for (const name of ["name 0", "name 500", "name 999"]) {
        assert.equal(await tryLock(name, { backend: other }), undefined);
      }
      assert((await Promise.all(locks.map((lock) => lock.unlock()))).every(Boolean));
    }),

    test("the end of its session is signalled to a holder, and the next request opens another", async (fixture) => {
      const [backend, other] = [await fixture.backend({ mode }), await fixture.backend({ mode })];
      const lock = await getLock("a", { backend });
      const lost = aborted(lock.signal);
      await fixture.terminate(lock.session!);
      assert(await lost instanceof LockLost);
      assert.equal(lock.held, false);
      assert.equal(await lock.verify(), false);
      const next = await getLock("a", { backend: other, wait: 10 });
      assert(next.token > lock.token);
      assert.equal(await lock.unlock(), false);
      assert.equal(await next.verify(), true);
      const again = await Promise.all(["b", "c"].map((name) => getLock(name, { backend })));
      assert.equal(new Set(again.map(({ session }) => session)).size, 1);
      for (const each of [next, ...again]) assert.equal(await each.unlock(), true);
    }),

    test("the end of its session is published once, although the program does not look", async (fixture) => {
      const losses: LockLoss[] = [];
      const record = (message: unknown) => losses.push(message as LockLoss);
      subscribe("lockmgr.lost", record);
      try {
        const backend = await fixture.backend({ mode });
        const lock = await getLock("a", { backend });
        await fixture.terminate(lock.session!);
        await until("the loss is published", () => Promise.resolve(losses.length > 0));
        await lock.unlock(); // frees a row whose session the server has not ended yet
        const { engine } = backend;
        const reason = "the session that carried it has ended";
        assert.deepEqual(losses, [{ engine, mode, name: "a", token: lock.token, reason }]);
      } finally {
        unsubscribe("lockmgr.lost", record);
      }
    }),

    test("heartbeats keep an idle session alive", async (fixture) => {
      const backend = await fixture.backend({ mode, sessionTimeout: 2 });
      await unlessPaused(async () => {
        await using lock = await getLock("a", { backend, wait: 20 });
        await sleep(3_200);
        assert.equal(lock.held, true);
        assert.equal(await lock.verify(), true);
      });
    }),

    test("a process that stands still for half of the timeout keeps its session", async (fixture) => {
      const backend = await fixture.backend({ mode, sessionTimeout: 4 });
      let kept = false;
      for (let round = 0; round < 3 && !kept; round++) { // the machine itself may stand still for a second in one of them
        const lock = await getLock("a", { backend, wait: 20 });
        await sleep(500);
        for (const until = performance.now() + 2_000; performance.now() < until;); // a heartbeat is due meanwhile
        kept = lock.held;
        await sleep(1_300); // longer than the session would live if heartbeats had stopped
        kept &&= lock.held && await lock.verify();
        await lock.unlock();
      }
      assert(kept, "lost in each of three rounds");
    }),

    test("a process that is stopped loses its lock, and knows when it goes on", async (fixture) => {
      const backend = await fixture.backend({ mode });
      await using holder = start("tests/sessions/short_holder.ts", [fixture.urlOf(mode), "a"]);
      await holder.next();
      process.kill(holder.child.pid!, "SIGSTOP");
      const lock = await getLock("a", { backend, wait: 30 });
      process.kill(holder.child.pid!, "SIGCONT");
      assert.deepEqual(await holder.next(), { lost: "LOCK_LOST" });
      holder.tell("state");
      assert.deepEqual(await holder.next(), { held: false, verified: false });
      assert.equal(await lock.verify(), true);
      await lock.unlock();
    }),
  ];
}

const mode = "session";

/** Every test of the list. */
export const sessionCases: readonly SessionCase[] = [
  ...casesOf("session"),
  ...casesOf("hybrid"),
  {
    name: "hybrid: a release frees its row although its session has ended",
    async run(fixture) {
      const [backend, other] = [await fixture.backend({ mode: "hybrid" }), await fixture.backend({ mode: "hybrid" })];
      const anyOwner = ({ name }: { name: string }) => ({ name, owner: null });
      for (const names of [["a"], ["a", "b", "c"]]) {
        for (const by of ["owner", "token", "name"]) {
          const requests = requestsFor(names);
          const rows = (await backend.acquire(requests)).map((answer) => answer.granted ? answer.row : assert.fail());
          await fixture.terminate(rows[0].session!);
          await until("the rows count as free", async () => (await other.list({ names })).length === 0);
          const tokens = rows.map(({ name, token }) => ({ name, owner: token }));
          const targets = by === "owner" ? requests : by === "token" ? tokens : requests.map(anyOwner);
          assert.deepEqual(await other.release(targets), names.map(() => false)); // nothing was held any more
          assert.deepEqual(await other.list({ names, includeExpired: true }), [], `by ${by}: ${names}`);
        }
      }
    },
  },
  {
    name: "session: two tasks of one process exclude each other",
    async run(fixture) {
      const backend = await fixture.backend({ mode });
      let [inside, most] = [0, 0];
      await Promise.all(Array.from({ length: 20 }, async () => {
        await using _lock = await getLock("a", { backend, wait: 20 });
        most = Math.max(most, ++inside);
        await sleep(1);
        inside--;
      }));
      assert.equal(most, 1);
    },
  },
  {
    name: "session: of a batch each name is answered for itself",
    async run(fixture) {
      const [backend, other] = [await fixture.backend({ mode }), await fixture.backend({ mode })];
      const busy = await getLock("name 3", { backend: other });
      const requests = requestsFor(numbered(8));
      const twice = [...requests, { ...requests[5], owner: "you" }];
      const expected = twice.map(({ name, owner }) => name !== "name 3" && owner === "me");
      const answers = await backend.acquire(twice);
      assert.deepEqual(answers.map(({ granted }) => granted), expected);
      const [own, theirs] = await backend.acquire([requests[0], { ...requests[1], owner: "you" }]);
      assert(own.granted && answers[0].granted && own.row.token === answers[0].row.token);
      assert(!theirs.granted && theirs.holder?.name === "name 1");
      assert.deepEqual(await backend.release([...twice, requests[0]]), [...expected, false]);
      assert.equal(await busy.unlock(), true);
      const free = await other.acquire(requests);
      assert(free.every(({ granted }) => granted));
      await other.release(requests);
    },
  },
  {
    name: "session: a release waits for an acquisition of the same name that is under way",
    async run(fixture) {
      const [backend, other] = [await fixture.backend({ mode }), await fixture.backend({ mode })];
      for (const names of [["a"], ["a", "b", "c"]]) {
        const requests = requestsFor(names);
        const acquiring = backend.acquire(requests);
        assert.deepEqual(await backend.release(requests), names.map(() => true));
        assert((await acquiring).every(({ granted }) => granted));
        assert((await other.acquire(requests)).every(({ granted }) => granted));
        await other.release(requests);
      }
    },
  },
  {
    name: "session: a batch has tokens above all before it",
    async run(fixture) {
      const [backend, other] = [await fixture.backend({ mode }), await fixture.backend({ mode })];
      let last = 0n;
      for (let round = 0; round < 6; round++) {
        const used = round % 2 === 0 ? backend : other;
        const locks: Lock[] = await Promise.all(["a", "b", "c"].map((name) => getLock(name, { backend: used })));
        for (const lock of locks) assert(lock.token > last, `${lock.token} after ${last}`);
        last = locks.map(({ token }) => token).sort((a, b) => Number(a - b)).at(-1)!;
        for (const lock of locks) await lock.unlock();
      }
    },
  },
  {
    name: "session: statements that are cancelled all the time leave right answers and nothing held",
    async run(fixture) {
      const [backend, other] = [await fixture.backend({ mode }), await fixture.backend({ mode })];
      const requests = requestsFor(numbered(300));
      const [first] = await backend.acquire(requests.slice(0, 1));
      assert(first.granted);
      const { session } = first.row;
      let cancelling = true;
      const canceller = (async () => {
        while (cancelling) await fixture.cancel(session!).catch(() => {});
      })();
      try {
        for (let round = 0; round < 30; round++) {
          const answers = await backend.acquire(requests).catch(() => undefined);
          assert(answers === undefined || answers.every(({ granted }) => granted));
          const released = await backend.release(requests).catch(() => undefined);
          if (answers && released) assert(released.every(Boolean), "a lock was gone");
        }
      } finally {
        cancelling = false;
        await canceller;
      }
      await backend.release(requests);
      assert.deepEqual(await backend.list({}), []);
      await until("all names are free", async () => {
        const answers = await other.acquire(requests);
        await other.release(requests.filter((_, index) => answers[index].granted));
        return answers.every(({ granted }) => granted);
      });
    },
  },
  {
    name: "session: a backend that was disposed of answers with an error, not that nothing is held",
    async run(fixture) {
      const backend = await fixture.backend({ mode });
      await getLock("a", { backend });
      await backend[Symbol.asyncDispose]();
      await assert.rejects(listLocks({ backend }), BackendError);
      await assert.rejects(isLocked("a", { backend }), BackendError);
    },
  },
];
