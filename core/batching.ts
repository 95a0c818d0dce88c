/**
 * Callers that arrive together travel together. Between the core and a backend's batch-shaped verbs: who comes alone
 * asks at once; who comes while a request of that verb is under way waits for it and goes with all others that wait.
 * One statement for hundreds of names costs little more than for one: 15 to 56 times the locks per second.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, Backend, LockRow, RenewRequest, Target } from "./backend.ts";
import { Batcher } from "./batcher.ts";
import { BoundedMap } from "./bounded_map.ts";
import type { BackendError } from "./errors.ts";
import { HeldList } from "./held_list.ts";
import type { Line } from "./line.ts";
import { Road } from "./road.ts";
import { Undoing } from "./undoing.ts";

/** How many lines are kept that nobody is in: one that is forgotten costs some courtesy between processes only. */
const LINES = 1_024;

/**
 * What this process has under way on one backend: the verbs, each with its own batches (what is all or nothing is no
 * part of them), and who stands in line for which name.
 */
export interface Batches {
  readonly lines: BoundedMap<string, Line>;
  readonly acquire: Batcher<AcquireRequest, AcquireAnswer>;
  readonly renew: Batcher<RenewRequest, LockRow | undefined>;
  readonly release: Batcher<Target, boolean>;
  /** What was granted, or may have been, to callers who were told something else. */
  readonly undoing: Undoing;
  /** What is held through this backend. */
  readonly held: HeldList;
  /** Requests for several names that are under way. */
  readonly together: Set<Promise<unknown>>;
  /** Why there are no further requests; `undefined` until the backend is disposed of. */
  ended: BackendError | undefined;
  /** The disposal under way, or done. */
  closing: Promise<void> | undefined;
}

const batchesOf = new WeakMap<Backend, Batches>();

/** What is under way on a backend. One look for all: each costs a microsecond when the caches are cold. */
export function batched(backend: Backend): Batches {
  let batches = batchesOf.get(backend);
  if (batches === undefined) {
    const road = new Road();
    const lines = new BoundedMap<string, Line>(LINES, ({ running }) => running);
    const release = new Batcher<Target, boolean>((targets) => backend.release(targets), road);
    batches = {
      lines,
      acquire: new Batcher((requests) => backend.acquire(requests), road),
      renew: new Batcher((requests) => backend.renew(requests), road),
      release,
      undoing: new Undoing((claim) => release.ask(claim), (name) => lines.get(name)?.wake()),
      held: new HeldList(),
      together: new Set(),
      ended: undefined,
      closing: undefined,
    };
    batchesOf.set(backend, batches);
  }
  return batches;
}
