import type { Random } from "./random.ts";

/** How far a wall clock may be off (ms), and how often it jumps (ms). */
const FARTHEST = 12 * 3600e3;
const JUMP = 40;

/** Gives this process a wall clock that is hours off and jumps, forwards and backwards. */
export function wildClock(random: Random): void {
  const Real = Date;
  let offset = 0;
  let jumpAt = -Infinity;
  const now = () => {
    if (performance.now() > jumpAt) {
      offset = random.between(-FARTHEST, FARTHEST);
      jumpAt = performance.now() + JUMP;
    }
    return Real.now() + offset;
  };
  globalThis.Date = new Proxy(Real, {
    construct: (target, parameters) => parameters.length ? Reflect.construct(target, parameters) : new Real(now()),
    get: (target, key) => key === "now" ? now : Reflect.get(target, key),
  });
}
