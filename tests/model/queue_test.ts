/**
 * The queue of a name as a pure function, and how SQLite stores it, in random steps: engines whose statements do the
 * same are compared with it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { AcquireRequest } from "../../core/backend.ts";
import { type Entry, extend, isLive, join, LATER_US, leave, type Line } from "../../backends/shared/line.ts";
import { lineOf, valuesOf } from "../../backends/sqlite/queue/stored_line.ts";
import { type Random, seeded } from "../faults/random.ts";
import { test } from "../harness.ts";

const OWNERS = ["a", "b", "c", "d", "e"];
const STEPS = 20_000;
const WINDOW = 15e6;

/** What the columns of a stored line say. */
function restored(name: string, line: Line, now: number): Line {
  const [, owner, token, locked_by, lock_process, locked_until, created_at, updated_at, metadata, ...queue] = valuesOf(
    name,
    line,
  ) as (string | null)[];
  const [slots, first, , rest] = queue;
  const row = { name, owner, token: first ?? token!, highest: token, slots, line: rest, locked_by: locked_by!, now };
  const times = { locked_until, created_at: created_at!, updated_at: updated_at!, lock_process, metadata };
  return lineOf({ ...row, ...times, now: String(now) });
}

function ownersAndTokens({ token, entries }: Line): readonly unknown[] {
  return [token, entries.map(({ owner, token }) => [owner, token])];
}

/** Who holds the name: the entries up to the smallest limit of those before them. */
function holdersOf({ entries }: Line): readonly Entry[] {
  let room = Infinity;
  return entries.filter(({ limit }, index) => index < (room = Math.min(room, limit)));
}

/** One random step of one owner. */
function randomStep(line: Line, random: Random, now: number): { readonly act: string; readonly line: Line } {
  const owner = random.pick(OWNERS);
  const limit = random.pick([1, 1, 2, 3, Infinity]);
  const window = random.pick([undefined, WINDOW, WINDOW, WINDOW]);
  const cameAt = performance.now() - random.pick([0, 20, 1_000]);
  const holder = { owner, lockedBy: "x", lockProcess: null, metadata: null };
  const duration = random.pick([null, 1e5, 5e6]);
  const request: AcquireRequest = { name: "n", ...holder, duration, limit, window, cameAt };
  const act = random.pick(["join", "join", "join", "leave", "extend", "steal", "force"] as const);
  const steps = {
    join: () => join(line, request, now).line,
    steal: () => join(line, { ...request, limit: 1, window: undefined, steal: true }, now).line,
    leave: () => leave(line, now, (entry) => entry.owner === owner),
    force: () => leave(line, now, ({ token }) => token !== undefined),
    extend: () => extend(line, now, (entry) => entry.owner === owner, () => now + 1e6),
  };
  const after = steps[act]();
  if (act === "leave") assert(after.entries.every((entry) => entry.owner !== owner), "it is left behind");
  return { act, line: after };
}

/** Checks that those who were there before keep their order, and a newcomer comes before those that came later only. */
function checkOrder(act: string, before: Line, line: Line, now: number): void {
  const live = line.entries.filter((entry) => isLive(entry, now)).map(({ owner }) => owner);
  const stayed = before.entries.filter((entry) => isLive(entry, now) && live.includes(entry.owner));
  const order = live.filter((owner) => stayed.some((entry) => entry.owner === owner));
  assert.deepEqual(order, stayed.map(({ owner }) => owner), "entries changed places");
  if (act === "steal") return;
  const isLater = (entry: Entry | undefined, than: Entry) =>
    entry !== undefined && entry.came! > than.came! + LATER_US && entry.came! <= now;
  const index = line.entries.findIndex(({ owner }) => live.includes(owner) && !order.includes(owner));
  if (index === -1) return;
  const newcomer = line.entries[index];
  assert(line.entries.slice(index + 1).every((entry) => isLater(entry, newcomer)), "a newcomer is before others");
  const last = line.entries[index - 1];
  assert(last?.token !== undefined || !isLater(last, newcomer), "a newcomer is behind those that came later");
}

/** Checks who holds the name; returns how many were granted it. */
function checkHolders(before: Line, line: Line): number {
  const owners = line.entries.map(({ owner }) => owner);
  assert.equal(new Set(owners).size, owners.length, "an owner is there twice");
  const holders = line.entries.filter(({ token }) => token !== undefined);
  assert.deepEqual(holders, holdersOf(line), "holders are not those that the limits admit");
  for (const { token } of holders) assert(token! <= line.token);
  const news = holders.filter(({ token }) => token! > before.token).map(({ token }) => token!);
  assert.deepEqual(news, news.toSorted((one, two) => one - two), "tokens do not rise");
  return news.length;
}

test("queue: in random steps limits are kept, tokens rise, and no waiter is overtaken", () => {
  const random = seeded(7);
  let line: Line = { token: 0, entries: [] };
  let [now, granted] = [1e6, 0];
  for (let step = 0; step < STEPS; step++) {
    now += random.pick([0, 1, 1e3, 1e6, 2e6, -1e3]);
    const before = line;
    const { act, line: after } = randomStep(before, random, now);
    line = after;
    granted += checkHolders(before, line);
    checkOrder(act, before, line, now);
    if (line.entries.length > 0) assert.deepEqual(ownersAndTokens(restored("n", line, now)), ownersAndTokens(line));
  }
  assert(granted > STEPS / 10, `${granted} grants`);
});
