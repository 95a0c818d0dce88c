/**
 * The queue of a name as a pure function, and how SQLite stores it, in random steps: engines whose statements do the
 * same are compared with it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { AcquireRequest } from "../../core/backend.ts";
import { type Entry, extend, isLive, join, leave, type Line } from "../../backends/shared/line.ts";
import { lineOf, valuesOf } from "../../backends/sqlite/queue/stored_line.ts";
import { seeded } from "../faults/random.ts";
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

/** Who holds the name: the entries up to the smallest limit of those before them. */
function holdersOf({ entries }: Line): readonly Entry[] {
  let room = Infinity;
  return entries.filter(({ limit }, index) => index < (room = Math.min(room, limit)));
}

test("queue: in random steps limits are kept, tokens rise, and no waiter is overtaken", () => {
  const random = seeded(7);
  let line: Line = { token: 0, entries: [] };
  let [now, granted] = [1e6, 0];
  for (let step = 0; step < STEPS; step++) {
    now += random.pick([0, 1, 1e3, 1e6, 2e6, -1e3]);
    const owner = random.pick(OWNERS);
    const limit = random.pick([1, 1, 2, 3, Infinity]);
    const window = random.pick([undefined, WINDOW, WINDOW, WINDOW]);
    const holder = { owner, lockedBy: "x", lockProcess: null, metadata: null };
    const request: AcquireRequest = { name: "n", ...holder, duration: random.pick([null, 1e5, 5e6]), limit, window };
    const before = line;
    const act = random.pick(["join", "join", "join", "leave", "extend", "steal", "force"] as const);
    if (act === "join") line = join(line, request, now).line;
    if (act === "steal") line = join(line, { ...request, limit: 1, window: undefined, steal: true }, now).line;
    if (act === "leave") line = leave(line, now, (entry) => entry.owner === owner);
    if (act === "force") line = leave(line, now, ({ token }) => token !== undefined);
    if (act === "extend") line = extend(line, now, (entry) => entry.owner === owner, () => now + 1e6);
    const owners = line.entries.map(({ owner }) => owner);
    assert.equal(new Set(owners).size, owners.length, "an owner is there twice");
    if (act === "leave") assert(!owners.includes(owner), "it is left behind");
    const holders = line.entries.filter(({ token }) => token !== undefined);
    assert.deepEqual(holders, holdersOf(line), "holders are not those that the limits admit");
    for (const { token } of holders) assert(token! <= line.token);
    const news = holders.filter((entry) => entry.token! > before.token);
    assert.deepEqual(news.map(({ token }) => token), news.map(({ token }) => token).sort((one, two) => one! - two!));
    granted += news.length;
    const live = line.entries.filter((entry) => isLive(entry, now)).map(({ owner }) => owner);
    const stayed = before.entries.filter((entry) => isLive(entry, now) && live.includes(entry.owner));
    const order = live.filter((owner) => stayed.some((entry) => entry.owner === owner));
    assert.deepEqual(order, stayed.map(({ owner }) => owner), "entries changed places");
    if (act !== "steal") assert.deepEqual(live.slice(0, order.length), order, "a newcomer is before others");
    if (line.entries.length === 0) continue;
    const stored = restored("n", line, now);
    assert.equal(stored.token, line.token);
    assert.deepEqual(
      stored.entries.map(({ owner, token }) => [owner, token]),
      line.entries.map(({ owner, token }) => [owner, token]),
    );
  }
  assert(granted > STEPS / 10, `${granted} grants`);
});
