import type { OwnedLock } from "../backend.ts";
import type { Asker } from "./asker.ts";
import type { BackendState } from "./backend_state.ts";
import type { HeldLock } from "../lock/held_lock.ts";

/** A release under way. */
export class Releasing implements Asker<OwnedLock, boolean> {
  readonly request: OwnedLock;
  /** Whether the lock was held until then. */
  readonly outcome: Promise<boolean>;
  readonly #holding: HeldLock;
  readonly #batches: BackendState;
  #resolve!: (released: boolean) => void;
  #reject!: (error: unknown) => void;
  #repeated = false;

  constructor(holding: HeldLock, batches: BackendState) {
    this.request = holding.claim;
    this.#holding = holding;
    this.#batches = batches;
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Asks the backend, with others that ask at the same moment. */
  send(): void {
    this.#batches.release.send(this);
  }

  /** What was asked for may have happened already. */
  repeats(): void {
    this.#repeated = true;
  }

  /** The database has answered: whoever waits for the name in this process may go on. */
  answered(answer: boolean): void {
    const released = this.#holding.releasedAs(answer, this.#repeated);
    if (released) this.#batches.lines.get(this.request.name)?.noteRelease();
    this.#resolve(released);
  }

  /** There is no answer. */
  failed(error: unknown): void {
    this.#holding.notReleased();
    this.#reject(error);
  }
}
