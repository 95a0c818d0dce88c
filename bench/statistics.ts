/**
 * What is made of many measurements.
 *
 * @module
 */

/** The three quartiles of some measurements. */
export interface Quartiles {
  /** A quarter of the measurements lie below. */
  readonly lower: number;
  /** Half of them lie below. */
  readonly median: number;
  /** Three quarters of them lie below. */
  readonly upper: number;
}

/** Below so many microseconds an operation takes twice as long or half, as the kernel places processes on cores. */
const FICKLE = 150;

/** The value below which a share of the measurements lie. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
}

/** The quartiles of measurements. */
export function quartiles(values: readonly number[]): Quartiles {
  return { lower: quantile(values, 0.25), median: quantile(values, 0.5), upper: quantile(values, 0.75) };
}

/** How many times as long one takes as another, both in microseconds: by medians, or by lower quartiles where either is fickle. */
export function timeRatio(one: Quartiles, other: Quartiles): number {
  const fickle = Math.min(one.median, other.median) < FICKLE;
  return fickle ? one.lower / other.lower : one.median / other.median;
}

/** Jain's index of shares: 1 when all are alike, 1/n when one has everything. */
export function fairness(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return squares === 0 ? NaN : sum * sum / (shares.length * squares);
}
