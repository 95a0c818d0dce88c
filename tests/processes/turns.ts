/**
 * Turns that programs of two kinds took at the same locks, by one machine's clock.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { allEnded } from "../conformance/case.ts";

/** How long programs take turns (s): long enough to see that none starves. */
export const TURNS_SECONDS = Number(process.env.LOCKMGR_TEST_TURNS ?? 2);

/** One turn: the place of its lock, and when it began and ended (s). */
export type Turn = [place: number, begin: number, end: number];

/** Takes turns of 20 ms, each lock for an equal share of the time. */
export async function takeTurns(
  locks: number,
  startAt: number,
  acquire: (place: number) => Promise<{ release(): Promise<unknown> }>,
): Promise<Turn[]> {
  const turns: Turn[] = [];
  for (;;) {
    const place = Math.floor((Date.now() / 1e3 - startAt) / TURNS_SECONDS * locks);
    if (place >= locks) return turns;
    const lock = await acquire(place);
    const begin = Date.now() / 1e3;
    await new Promise((resolve) => setTimeout(resolve, 20));
    turns.push([place, begin, Date.now() / 1e3]);
    await lock.release();
  }
}

/** Length (s) of a turn whose timer of 20 ms came late. */
const LATE_TURN_SECONDS = 0.04;

/**
 * Lets programs take turns. Checks that no turns of one lock overlap and that each program has over a fifth of them. A
 * share that is missed is measured again, twice at most, if more than a tenth of the turns were late.
 */
export async function takeFairly(take: (startAt: number) => Promise<Turn[]>[]): Promise<void> {
  for (let tries = 0;; tries++) {
    const programs = await allEnded(take(Date.now() / 1e3));
    const all = programs.flat();
    const shares = programs.map(({ length }) => length);
    console.log(`turns: ${shares.join(", ")}`);
    checkOverlaps(all);
    if (Math.min(...shares) > all.length / 5) return;
    const late = all.filter(([, begin, end]) => end - begin > LATE_TURN_SECONDS).length;
    assert(tries < 2 && late > all.length / 10, `turns: ${shares.join(", ")}, of which ${late} were late`);
  }
}

function checkOverlaps(all: readonly Turn[]): void {
  for (const place of new Set(all.map(([place]) => place))) {
    const turns = all.filter((turn) => turn[0] === place).sort((a, b) => a[1] - b[1]);
    // this program's clock counts milliseconds
    turns.forEach(([, begin], index) => assert(index === 0 || begin > turns[index - 1][2] - 0.0015));
  }
}
