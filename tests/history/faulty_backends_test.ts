/**
 * The checker's own proof: it catches those who lie, each by the rule that is broken, and lets the honest one pass.
 */
import { type Backend, connect } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { check, report, type RuleName, type Tolerance } from "./checker.ts";
import type { HistoryEvent } from "./events.ts";
import * as faulty from "./faulty_backends.ts";
import { Recorder } from "./recorder.ts";
import { stallsFirst, watchStalls } from "./stalls.ts";

/** What two or three processes do with a backend, as a history. */
type Plot = (a: Recorder, b: Recorder, c: Recorder) => Promise<void>;

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1e3));

/** The holder after one whose lease lapsed looks at what it holds when the next client has the name, or waits for it. */
async function lapse(a: Recorder, b: Recorder, c: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 0.1 }))!;
  await aborted(first.signal);
  const second = (await b.acquire("x", { expires: 60, wait: 5 }))!;
  const third = c.acquire("x", { expires: 60, wait: 5 });
  await Promise.race([third, waiters(a.backend, 1)]);
  b.believes(second);
  await b.release(second);
  await c.release((await third)!);
}

async function cleanUp(a: Recorder, b: Recorder): Promise<void> {
  for (const recorder of [a, b]) {
    const lock = (await recorder.acquire("x", { expires: 60 }))!;
    await recorder.release(lock);
    await recorder.clean();
  }
}

/** Nobody looks at `held`: only the signal tells. */
async function overstay(a: Recorder, b: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 0.2 }))!;
  const second = await b.acquire("x", { expires: 60, wait: 5 });
  await aborted(first.signal);
  await b.release(second!);
}

async function staleRelease(a: Recorder, b: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 0.1 }))!;
  const second = (await b.acquire("x", { expires: 60, wait: 5 }))!;
  await a.release(first);
  await b.verify(second);
  await b.release(second);
}

/** Only a process that overestimates its time still sends a renewal: it was told of more than there is. */
async function staleRenewal(a: Recorder, b: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 0.1 }, false))!;
  const second = (await b.acquire("x", { expires: 60, wait: 5 }))!;
  await a.renew(first, 60);
  await b.release(second);
}

async function allOrNothing(a: Recorder, b: Recorder): Promise<void> {
  const other = (await a.acquire("x", { expires: 60 }))!;
  await b.set(["w", "x"], 60);
  await a.list();
  await a.release(other);
}

/** Resolves when so many wait for the name. */
async function waiters(backend: Backend, count: number): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    if ((await backend.list({ names: ["x"] }))[0]?.waiters === count) return;
    await sleep(0.002);
  }
}

async function waiting(a: Recorder, b: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 60 }))!;
  const next = b.acquire("x", { expires: 60, wait: 1.2 });
  await waiters(a.backend, 1);
  await a.release(first);
  await b.release((await next)!);
}

async function vanishing(a: Recorder): Promise<void> {
  const lock = (await a.acquire("x", { expires: 60 }))!;
  await a.verify(lock);
  await a.release(lock);
}

/** Waits for what nobody gives back. */
async function inVain(a: Recorder, b: Recorder): Promise<void> {
  const lock = (await a.acquire("x", { expires: 60 }))!;
  await b.acquire("x", { expires: 60, wait: 0.2 });
  await a.release(lock);
}

/** Asks for a name that no other client wants, and looks at what is held. */
async function alone(a: Recorder, b: Recorder): Promise<void> {
  const lock = await a.acquire("x", { expires: 0.3 });
  await b.list();
  if (lock) await a.release(lock);
}

async function isQueued({ queued }: Recorder): Promise<void> {
  while (queued.size === 0) await sleep(0.002);
}

/** One waits, and another asks later. */
async function queue(a: Recorder, b: Recorder, c: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 60 }))!;
  const second = b.acquire("x", { expires: 60, wait: 5 });
  await isQueued(b);
  const third = c.acquire("x", { expires: 60, wait: 5 });
  await isQueued(c);
  await a.release(first);
  await Promise.all([[b, second] as const, [c, third] as const].map(async ([hand, waiting]) => {
    const lock = await waiting;
    if (lock) await hand.release(lock);
  }));
}

async function readAndWrite(a: Recorder, b: Recorder, c: Recorder): Promise<void> {
  const readers = [await a.acquire("y", { expires: 60, shared: true }), await b.acquire("y", { shared: true })];
  for (const [index, reader] of readers.entries()) await [a, b][index].release(reader!);
  const writer = (await c.acquire("x", { expires: 60 }))!;
  const reader = await a.acquire("x", { expires: 60, shared: true });
  c.believes(writer);
  await c.release(writer);
  if (reader) await a.release(reader);
}

async function giveUp(a: Recorder, b: Recorder, c: Recorder): Promise<void> {
  const first = (await a.acquire("x", { expires: 60 }))!;
  await b.acquire("x", { expires: 60, wait: 0.05 });
  const next = c.acquire("x", { expires: 60, wait: 3 });
  await a.release(first);
  await c.release((await next)!);
}

/** Where waiters poll: a connection is told of what others have committed, not of its own releases. */
const queued: readonly Plot[] = [lapse, waiting, queue, giveUp];

/** Runs a plot on a database of its own, with three hands on it that know nothing of each other. */
async function play(lie: (real: Backend) => Backend, plot: Plot): Promise<HistoryEvent[]> {
  await using real = await connect("sqlite::memory:");
  const backend = lie(real);
  const history: HistoryEvent[] = [];
  const note = (event: HistoryEvent) => void history.push(event);
  using stalls = watchStalls("tests", note);
  const hands = ["a", "b", "c"].map((worker) => {
    // Another object each: one process would put those who wait into one line.
    const hidden = queued.includes(plot) ? "watch" : undefined;
    const own = new Proxy(backend, { get: (target, key) => key === hidden ? undefined : Reflect.get(target, key) });
    return new Recorder(worker, own, stallsFirst(note, () => stalls));
  });
  await plot(hands[0], hands[1], hands[2]);
  return history;
}

const plots: readonly [plot: Plot, lie: (real: Backend) => Backend, ...broken: RuleName[]][] = [
  [lapse, faulty.grantsTwiceAfterExpiry, "exclusion", "no foreign harm"],
  [cleanUp, faulty.repeatsTokensAfterCleanUp, "rising tokens"],
  [overstay, faulty.tellsLossLate, "loss told"],
  [staleRelease, faulty.releasesForStrangers, "no foreign harm", "explained"],
  [staleRenewal, (real) => faulty.renewsForStrangers(faulty.tellsLossLate(real)), "no foreign harm"],
  [allOrNothing, faulty.leavesOneBehind, "all or nothing"],
  [waiting, faulty.starvesWaiters, "no starvation"],
  [vanishing, faulty.losesGrants, "explained"],
  [queue, faulty.overtakesWaiters, "first come"],
  [queue, faulty.losesHandOffs, "no starvation"],
  [readAndWrite, faulty.admitsReadersToWriter, "exclusion", "no foreign harm"],
  [giveUp, faulty.leavesWaitersBehind, "no starvation"],
  [inVain, faulty.answersLate, "punctual"],
  [alone, faulty.failsAfterGrant, "held by no client"],
  [alone, faulty.refusesFreeNames, "busy for no reason"],
];

/** A pause (µs) after which the rules that measure time may say anything. */
const PAUSE_US = 50_000;

/** Checks by which rules a backend is caught; again if the process paused meanwhile. */
async function caughtBy(rules: readonly RuleName[], lie: (real: Backend) => Backend, plot: Plot): Promise<void> {
  for (let tries = 1;; tries++) {
    const history = await play(lie, plot);
    const verdict = check(history, { waiting: 0.4, lateness: 0.2 });
    const broken = [...new Set(verdict.offences.map(({ rule }) => rule))].sort();
    const paused = history.some((event) => event.kind === "stalled" && event.at - event.from > PAUSE_US);
    if (tries < 3 && paused && `${broken}` !== `${rules.toSorted()}`) continue;
    assert.deepEqual(broken, rules.toSorted(), report(verdict));
    assert(rules.length > 0 || verdict.seen.holds > 0);
    return;
  }
}

for (const [plot, lie, ...broken] of plots) {
  test(`checker: ${lie.name || plot.name} is caught by ${broken.join(" and ")}, and by no other rule`, () => {
    return caughtBy(broken, lie, plot);
  });
  test(`checker: the honest backend passes: ${plot.name}`, () => caughtBy([], faulty.honest, plot));
}

test("checker: a session lock whose caller was told an error may be listed until it is released, but not for longer", () => {
  const listedAfter = (seconds: number): HistoryEvent[] => {
    const listed = [{ name: "x", token: "1", lockedBy: "a/1", left: null, limit: 1 }];
    const at = seconds * 1e6;
    return [
      { kind: "invoked", at: 0, worker: "a", id: 1, verb: "acquire", names: ["x"], wait: 0.1, lockedBy: "a/1" },
      { kind: "completed", at: 1e3, worker: "a", id: 1, outcome: "unknown", error: "aborted" },
      { kind: "invoked", at, worker: "a", id: 2, verb: "list", names: [], lockedBy: "a/2" },
      { kind: "completed", at: at + 1e3, worker: "a", id: 2, outcome: "done", listed },
    ];
  };
  const offences = (seconds: number) => check(listedAfter(seconds), { waiting: 0.4, lateness: 0.2 }).offences;
  assert.deepEqual(offences(1).map(({ rule }) => rule), []);
  assert.deepEqual(offences(100).map(({ rule }) => rule), ["held by no client"]);
});

test("checker: a name may be granted to a waiter whose process has died, until it leaves the queue", () => {
  const offences = (seconds: number, died: boolean) => {
    const listed = [{ name: "x", token: "1", lockedBy: "a/1", left: 0.2, limit: 1 }];
    const at = seconds * 1e6;
    const history: HistoryEvent[] = [
      {
        ...{ kind: "invoked", at: 0, worker: "a", id: 1, verb: "acquire", names: ["x"], lockedBy: "a/1" },
        ...{ wait: 5, expires: 0.5 },
      },
      { kind: "completed", at: 1e3, worker: "a", id: 1, outcome: "unknown", error: "the disk is full" },
      { kind: "invoked", at, worker: "b", id: 1, verb: "list", names: [], lockedBy: "b/1" },
      { kind: "completed", at: at + 1e3, worker: "b", id: 1, outcome: "done", listed },
    ];
    if (died) history.push({ kind: "ended", at: 2e3, worker: "a" });
    return check(history).offences.map(({ rule }) => rule);
  };
  assert.deepEqual(offences(13, true), []);
  assert.deepEqual(offences(13, false), ["held by no client"]);
  assert.deepEqual(offences(30, true), ["held by no client"]);
});

test("checker: a name is busy while the server waits with the commit of a request that was given up, not longer", () => {
  const offences = (lateUntil: number) =>
    check([
      { kind: "invoked", at: 0, worker: "a", id: 1, verb: "acquire", names: ["x"], expires: 0.1, lockedBy: "a/1" },
      { kind: "completed", at: 1e3, worker: "a", id: 1, outcome: "unknown", error: "aborted" },
      { kind: "invoked", at: 2e6, worker: "b", id: 1, verb: "acquire", names: ["x"], expires: 0.1, lockedBy: "b/1" },
      { kind: "completed", at: 2.1e6, worker: "b", id: 1, outcome: "not done" },
      { kind: "disturbed", from: 0, at: lateUntil, what: "commits late" },
    ]).offences;
  assert.deepEqual(offences(3e6), []);
  assert.deepEqual(offences(1e6).map(({ rule }) => rule), ["busy for no reason"]);
  assert.match(offences(1e6)[0].story, /no other client wanted it after \S+ s, the end of a\/1 acquire/);
});

test("checker: a name is busy while a waiter that was told an error may be granted it, not longer", () => {
  const offences = (askedAt: number, wait?: number) =>
    check([
      {
        kind: "invoked",
        at: 0,
        worker: "a",
        id: 1,
        verb: "acquire",
        names: ["x"],
        expires: 0.1,
        wait,
        lockedBy: "a/1",
      },
      { kind: "completed", at: 1e3, worker: "a", id: 1, outcome: "unknown", error: "the disk is full" },
      { kind: "invoked", at: askedAt, worker: "b", id: 1, verb: "acquire", names: ["x"], lockedBy: "b/1" },
      { kind: "completed", at: askedAt + 1e3, worker: "b", id: 1, outcome: "not done" },
    ]).offences.map(({ rule }) => rule);
  assert.deepEqual(offences(1e6, 5), []);
  assert.deepEqual(offences(1e6), ["busy for no reason"]);
  assert.deepEqual(offences(2e6, 5), ["busy for no reason"]);
});

test("checker: an answer may come when its lease is lost already, and is told at once", () => {
  const offences = (told: number) =>
    check([
      { kind: "invoked", at: 0, worker: "a", id: 1, verb: "acquire", names: ["x"], expires: 1, lockedBy: "a/1" },
      { kind: "invoked", at: 1, worker: "b", id: 1, verb: "acquire", names: ["x"], expires: 1, lockedBy: "b/1" },
      { kind: "completed", at: 2e6, worker: "b", id: 1, outcome: "done", granted: [{ name: "x", token: "2" }] },
      { kind: "hold began", at: 2e6, worker: "b", name: "x", token: "2", held: true, listening: true },
      { kind: "completed", at: 2.2e6, worker: "a", id: 1, outcome: "done", granted: [{ name: "x", token: "1" }] },
      { kind: "hold began", at: 2.2e6, worker: "a", name: "x", token: "1", held: false, listening: true },
      { kind: "loss told", at: told, worker: "a", name: "x", token: "1", reason: "" },
      { kind: "hold ended", at: 2.5e6, worker: "a", name: "x", token: "1" },
      { kind: "hold ended", at: 2.6e6, worker: "b", name: "x", token: "2" },
    ]).offences.map(({ rule }) => rule).filter((rule) => rule === "loss told");
  assert.deepEqual(offences(2.201e6), []);
  assert.deepEqual(offences(2.4e6), ["loss told"]);
});

test("checker: a waiter loses its place with its connection, and not to a disturbance that leaves it its lease", () => {
  const offences = (tolerance: Tolerance) =>
    check([
      {
        kind: "invoked",
        at: 0,
        worker: "a",
        id: 1,
        verb: "acquire",
        names: ["x"],
        expires: 9,
        wait: 9,
        lockedBy: "a/1",
      },
      { kind: "queued", at: 1e3, worker: "a", lockedBy: "a/1" },
      { kind: "disturbed", from: 0, at: 5e4, what: "connections cut" },
      { kind: "invoked", at: 1e5, worker: "b", id: 1, verb: "acquire", names: ["x"], expires: 9, lockedBy: "b/1" },
      { kind: "completed", at: 2e5, worker: "b", id: 1, outcome: "done", granted: [{ name: "x", token: "1" }] },
      { kind: "hold began", at: 2e5, worker: "b", name: "x", token: "1", held: true, listening: true },
      { kind: "hold ended", at: 3e5, worker: "b", name: "x", token: "1" },
      { kind: "completed", at: 4e5, worker: "a", id: 1, outcome: "done", granted: [{ name: "x", token: "2" }] },
      { kind: "hold began", at: 4e5, worker: "a", name: "x", token: "2", held: true, listening: true },
      { kind: "hold ended", at: 5e5, worker: "a", name: "x", token: "2" },
    ], tolerance).offences.map(({ rule }) => rule);
  assert.deepEqual(offences({ sessions: true }), []);
  assert.deepEqual(offences({ listening: true }), []);
  assert.deepEqual(offences({}), ["first come"]);
});

test("checker: a waiter may be overtaken while another client stands still, where one at a time writes", () => {
  const offences = (until: number, blocking: boolean) =>
    check([
      { kind: "invoked", at: 0, worker: "a", id: 1, verb: "acquire", names: ["x"], expires: 0.2, lockedBy: "a/1" },
      { kind: "queued", at: 1, worker: "a", lockedBy: "a/1" },
      { kind: "invoked", at: 2, worker: "b", id: 1, verb: "acquire", names: ["x"], expires: 0.2, lockedBy: "b/1" },
      { kind: "stalled", from: 1e5, at: until, worker: "c" },
      { kind: "completed", at: 6e5, worker: "b", id: 1, outcome: "done", granted: [{ name: "x", token: "1" }] },
      { kind: "completed", at: 9e5, worker: "a", id: 1, outcome: "done", granted: [{ name: "x", token: "2" }] },
    ], { blocking }).offences.map(({ rule }) => rule).filter((rule) => rule === "first come");
  assert.deepEqual(offences(4e5, true), []);
  assert.deepEqual(offences(4e5, false), ["first come"]);
  assert.deepEqual(offences(1.5e5, true), ["first come"]);
});

test("checker: a wait begins when its process runs, which a machine may delay", () => {
  const offences = (from: number) =>
    check([
      { kind: "invoked", at: 1e6, worker: "a", id: 1, verb: "acquire", names: ["x"], wait: 1, lockedBy: "a/1" },
      { kind: "stalled", from, at: from + 2e5, worker: "a" },
      { kind: "completed", at: 4.15e6, worker: "a", id: 1, outcome: "unknown", error: "no answer" },
    ]).offences.map(({ rule }) => rule);
  assert.deepEqual(offences(1e6 + 40), []);
  assert.deepEqual(offences(1e6 + 4e4), ["punctual"]);
});

test("checker: a name is busy while a waiter whose process has died is in the queue, not longer", () => {
  const offences = (askedAt: number, wait?: number) =>
    check([
      { kind: "invoked", at: 0, worker: "a", id: 1, verb: "acquire", names: ["x"], expires: 1, wait, lockedBy: "a/1" },
      { kind: "ended", at: 1e6, worker: "a" },
      { kind: "invoked", at: askedAt, worker: "b", id: 1, verb: "acquire", names: ["x"], lockedBy: "b/1" },
      { kind: "completed", at: askedAt + 5e5, worker: "b", id: 1, outcome: "not done" },
    ]).offences.map(({ rule }) => rule);
  assert.deepEqual(offences(13e6, 0.1), []);
  assert.deepEqual(offences(13e6), ["busy for no reason"]);
  assert.deepEqual(offences(20e6, 0.1), ["busy for no reason"]);
});

test("checker: a waiter may be served later by the grace of each dead waiter before it, not by more", () => {
  const offences = (
    dead: number,
    servedAt: number,
    { expires = 0.8, askedAt = 1e6, diedAt = 100, sessions = false } = {},
  ) => {
    const history: HistoryEvent[] = [];
    const wish = { verb: "acquire", names: ["x"], expires, wait: 30 } as const;
    for (let each = 0; each < dead; each++) {
      const worker = `dead ${each}`;
      history.push({ kind: "invoked", at: diedAt - 100 + each, worker, id: 1, lockedBy: worker, ...wish });
      history.push({ kind: "ended", at: diedAt + each, worker });
    }
    history.push({ kind: "invoked", at: askedAt, worker: "a", id: 1, lockedBy: "a/1", ...wish });
    const granted = [{ name: "x", token: "1" }];
    history.push({ kind: "completed", at: servedAt, worker: "a", id: 1, outcome: "done", granted });
    return check(history, { waiting: 1, sessions }).offences.map(({ rule }) => rule);
  };
  assert.deepEqual(offences(3, 4e6), []);
  assert.deepEqual(offences(2, 4e6), ["no starvation"]);
  assert.deepEqual(offences(3, 5e6), ["no starvation"]);
  assert.deepEqual(offences(3, 4e6, { sessions: true }), ["no starvation"]);
  assert.deepEqual(offences(2, 18.5e6, { askedAt: 16e6 }), ["no starvation"]); // they have left the queue
  assert.deepEqual(offences(2, 9e6, { expires: 5 }), []); // they may have held it until 5 s
  assert.deepEqual(offences(2, 9.1e6, { expires: 5 }), ["no starvation"]);
  assert.deepEqual(offences(2, 7e6, { diedAt: 3e6 }), ["no starvation", "no starvation"]); // before they came, and after
});
