/**
 * Callers that arrive together travel together. Between the core and a backend's batch-shaped verbs: who comes alone
 * asks at once; who comes while a request of that verb is under way waits for it and goes with all others that wait.
 * One statement for hundreds of names costs little more than for one: 15 to 56 times the locks per second.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, Backend, LockRef, LockRow, RenewRequest } from "../backend.ts";
import { Batcher } from "./batcher.ts";
import { LruMap } from "../util/lru_map.ts";
import type { BackendError } from "../errors.ts";
import { HeldLocks } from "../lock/held_locks.ts";
import type { WaitQueue } from "./wait_queue.ts";
import { Road } from "./road.ts";
import { Undo } from "./undo.ts";

/** How many lines are kept that nobody is in: one that is forgotten costs some courtesy between processes only. */
const LINES = 1_024;

/**
 * What this process has under way on one backend: the verbs, each with its own batches (what is all or nothing is no
 * part of them), and who stands in line for which name.
 */
export interface BackendState {
  readonly lines: LruMap<string, WaitQueue>;
  readonly acquire: Batcher<AcquireRequest, AcquireAnswer>;
  readonly renew: Batcher<RenewRequest, LockRow | undefined>;
  readonly release: Batcher<LockRef, boolean>;
  /** What was granted, or may have been, to callers who were told something else. */
  readonly undoing: Undo;
  /** What is held through this backend. */
  readonly held: HeldLocks;
  /** Requests for several names that are under way. */
  readonly together: Set<Promise<unknown>>;
  /** Why there are no further requests; `undefined` until the backend is disposed of. */
  ended: BackendError | undefined;
  /** The disposal under way, or done. */
  closing: Promise<void> | undefined;
}

const batchesOf = new WeakMap<Backend, BackendState>();

/** What is under way on a backend. One look for all: each costs a microsecond when the caches are cold. */
export function backendState(backend: Backend): BackendState {
  let batches = batchesOf.get(backend);
  if (batches === undefined) {
    const road = new Road();
    const lines = new LruMap<string, WaitQueue>(LINES, ({ running }) => running);
    const release = new Batcher<LockRef, boolean>((targets) => backend.release(targets), road);
    batches = {
      lines,
      acquire: new Batcher((requests) => backend.acquire(requests), road),
      renew: new Batcher((requests) => backend.renew(requests), road),
      release,
      undoing: new Undo((claim) => release.ask(claim), (name) => lines.get(name)?.wake()),
      held: new HeldLocks(),
      together: new Set(),
      ended: undefined,
      closing: undefined,
    };
    batchesOf.set(backend, batches);
  }
  return batches;
}
