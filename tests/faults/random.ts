/** Random choices that a seed repeats. */
export interface Random {
  /** A number from 0 to 1, without 1. */
  next(): number;
  /** A number within limits. */
  between(low: number, high: number): number;
  /** One of several. */
  pick<T>(from: readonly T[]): T;
}

/** Mulberry32: small, and good enough to choose faults (https://gist.github.com/tommyettinger/46a874533244883189143505d203312c). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6D2B79F5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    between: (low, high) => low + (high - low) * next(),
    pick: (from) => from[Math.floor(next() * from.length)],
  };
}
