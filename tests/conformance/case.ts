import type { Enrolment, Venue } from "./backends.ts";

/** One promise of the contract, tried on one venue. */
export interface Case {
  /** What holds, as a sentence. */
  readonly name: string;
  /** Whether it needs rows (`lease` and `hybrid`), or holds in every mode. */
  readonly rows: boolean;
  /** Tries it. */
  readonly run: (venue: Venue, enrolment: Enrolment) => Promise<void>;
}

/** A case of every mode. */
export function always(name: string, run: Case["run"]): Case {
  return { name, rows: false, run };
}

/** A case of the modes that keep rows. */
export function withRows(name: string, run: Case["run"]): Case {
  return { name, rows: true, run };
}

/** Resolves when the signal aborts, with its reason. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason);
  // The listener alone would not keep the process alive until the event.
  const alive = setInterval(() => {}, 1_000);
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => {
      clearInterval(alive);
      resolve(signal.reason);
    }, { once: true })
  );
}

/** A promise with its handles. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => resolve = done);
  return { promise, resolve };
}

/** Lets everything that is ready run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
