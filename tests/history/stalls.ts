import { sharedClock } from "./clock.ts";
import type { Sink } from "./recorder.ts";

/**
 * How often a process looks whether it runs (ms), and from which gap on it says that it did not (µs): twice the tick, so
 * that many short stalls of a busy machine are written down too.
 */
const TICK = 10;
const STALL = 20_000;

/** Watches over when a process does not run. */
export interface Stalls extends Disposable {
  /** Looks at once, for who knows that it stood still: its next turn may never come. */
  look(): void;
}

/**
 * Writes every event after the stall that came before it, if any. A process that was stopped, goes on, and is killed a few
 * milliseconds later has then written its stall before anything that it did afterwards.
 */
export function stallsFirst(sink: Sink, stalls: () => Stalls | undefined): Sink {
  return (event) => {
    stalls()?.look();
    sink(event);
  };
}

/** Writes down when this process did not run: it cannot signal a loss while it stands still. */
export function watchStalls(worker: string, sink: Sink): Stalls {
  let last = sharedClock();
  const look = () => {
    const now = sharedClock();
    if (now - last > STALL) sink({ kind: "stalled", from: last, at: now, worker });
    last = now;
  };
  const timer = setInterval(look, TICK);
  return {
    look,
    [Symbol.dispose]: () => {
      look();
      clearInterval(timer);
    },
  };
}
