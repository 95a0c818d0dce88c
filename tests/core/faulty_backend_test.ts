import {
  adoptLock,
  BackendError,
  connect,
  getLock,
  isLocked,
  LockLost,
  LockNotFound,
  tryLock,
  withLock,
} from "@lockmgr/lockmgr";
import { type BackendRequest, type Fault, faultyBackend } from "@lockmgr/lockmgr/conformance";
import assert from "node:assert/strict";
import { aborted } from "../conformance/case.ts";
import { test } from "../harness.ts";

/** A faulty backend over SQLite in memory, whose script is set in the middle of a test. */
async function faulty() {
  const requests: BackendRequest[] = [];
  const state: { script: (request: BackendRequest) => Fault | undefined } = { script: () => undefined };
  const real = await connect("sqlite::memory:");
  const backend = faultyBackend(real, (request) => {
    requests.push(request);
    return state.script(request);
  });
  return { real, backend, requests, state, [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose]() };
}

test("faultyBackend: without a fault it is the backend", async () => {
  await using fixture = await faulty();
  const { backend, requests } = fixture;
  assert.equal(backend.engine, "sqlite");
  const lock = await getLock("a", { backend });
  assert.equal(await tryLock("a", { backend }), undefined);
  await lock.renew();
  assert.equal(await lock.unlock(), true);
  assert.deepEqual(requests.map(({ verb, names, number }) => [verb, ...names, number]), [
    ["acquire", "a", 1],
    ["acquire", "a", 2],
    ["renew", "a", 1],
    ["release", "a", 1],
  ]);
  const { state } = fixture;
  state.script = () => ({ refuse: true });
  await assert.rejects(isLocked("a", { backend }), BackendError);
});

test("faultyBackend: a misspelt fault is an error, not a request without fault", async () => {
  await using fixture = await faulty();
  const { backend, state } = fixture;
  for (const wrong of [{ refused: true }, { delay: "5" }, true] as unknown as Fault[]) {
    state.script = () => wrong;
    await assert.rejects(getLock("a", { backend }), { name: "TypeError", message: /the script returns no fault/ });
  }
});

test("faultyBackend: a refused request is repeated once, and then a BackendError", async () => {
  await using fixture = await faulty();
  const { backend, state } = fixture;
  state.script = ({ verb, number }) => verb === "acquire" && number === 1 ? { refuse: true } : undefined;
  const lock = await getLock("a", { backend });
  state.script = ({ verb }) => verb === "acquire" ? { refuse: true } : undefined;
  await assert.rejects(getLock("b", { backend }), { name: "BackendError", retryable: true });
  assert.equal(lock.held, true);
});

test("faultyBackend: a lock granted in a lost answer is found again, or released", async () => {
  await using fixture = await faulty();
  const { backend, real, state } = fixture;
  state.script = ({ verb, number }) => verb === "acquire" && number === 1 ? { loseAnswer: true } : undefined;
  const lock = await getLock("a", { backend });
  assert.equal(await lock.verify(), true);
  state.script = ({ verb }) => verb === "acquire" ? { loseAnswer: true } : undefined;
  await assert.rejects(getLock("b", { backend }), BackendError);
  state.script = () => undefined;
  assert((await getLock("b", { backend: real, wait: 10, expires: 60 })).held);
});

test("faultyBackend: a lock that expires early is free for another client, and lost at the next look", async () => {
  await using fixture = await faulty();
  const { backend, real, state } = fixture;
  state.script = () => ({ expires: 0.05 });
  const lock = await getLock("a", { backend, expires: 600 });
  const next = await getLock("a", { backend: real, wait: 10 });
  assert.equal(lock.held, true);
  assert.equal(await lock.verify(), false);
  assert(lock.signal.reason instanceof LockLost);
  assert.equal(await next.verify(), true);
});

test("faultyBackend: a lock that is released by force is lost at its renewal", async () => {
  await using fixture = await faulty();
  const { backend, state } = fixture;
  state.script = ({ verb }) => verb === "renew" ? { release: true } : undefined;
  const work = withLock("a", { backend, expires: 0.3 }, ({ signal }) => aborted(signal));
  await assert.rejects(work, LockLost);
});

test("faultyBackend: a delay beyond the lease is a loss", async () => {
  await using fixture = await faulty();
  const { backend, state } = fixture;
  state.script = ({ verb }) => verb === "renew" ? { delay: 0.4 } : undefined;
  const work = withLock("a", { backend, expires: 0.2 }, ({ signal }) => aborted(signal));
  await assert.rejects(work, LockLost);
});

test("faultyBackend: a lock adopted in a lost answer is found again, or released", async () => {
  await using fixture = await faulty();
  const { backend, real, state } = fixture;
  state.script = ({ verb, number }) => verb === "adopt" && number === 1 ? { loseAnswer: true } : undefined;
  const text = (await getLock("a", { backend })).detach();
  const adopted = await adoptLock(text, { backend });
  assert.equal(await adopted.verify(), true);
  const again = adopted.detach();
  state.script = ({ verb }) => verb === "adopt" ? { refuse: true } : undefined;
  await assert.rejects(adoptLock(again, { backend }), BackendError);
  state.script = ({ verb }) => verb === "adopt" ? { loseAnswer: true } : undefined;
  await assert.rejects(adoptLock(again, { backend }), BackendError); // the refused attempt has not used the text up
  state.script = () => undefined;
  await using next = await getLock("a", { backend: real, wait: 60 });
  assert(next.token > adopted.token);
  await assert.rejects(adoptLock(again, { backend }), LockNotFound);
});

test("faultyBackend: a lease that is found again lasts from its first request on, also for a caller that waits", async () => {
  await using fixture = await faulty();
  const { backend, state } = fixture;
  state.script = ({ verb, number }) =>
    verb !== "acquire" ? undefined : number === 1 ? { loseAnswer: true } : { delay: 0.6 };
  const startedAt = performance.now();
  const lock = await getLock("a", { backend, expires: 10, wait: 60 });
  const left = lock.expiresIn!; // not what is left at the answer, counted from before the delay
  assert(left > 9.5 - (performance.now() - startedAt) / 1e3, String(left));
});
