import type { LockRef, OwnedLock } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { type Abandoned, within } from "../connection/abandoned.ts";
import { GONE_MS } from "../connection/connector.ts";

/** A request whose statement may still take effect although its caller got an error. */
interface UnknownRequest {
  readonly claim: OwnedLock;
  /** Whether the same request was made again: then its grant is wanted. */
  isRepeated: boolean;
  /** Resolves when neither the statement nor a release of what it was granted can take effect any more. */
  over: Promise<unknown>;
}

/**
 * Requests that failed while their statements could not be ended at the server, as during an outage. Further requests
 * for their names wait until the statements have ended and what they were granted is released.
 */
export class UnknownRequests {
  readonly #abandoned: Abandoned;
  readonly #release: (claim: OwnedLock) => Promise<unknown>;
  readonly #byName = new Map<string, Set<UnknownRequest>>();

  constructor(abandoned: Abandoned, release: (claim: OwnedLock) => Promise<unknown>) {
    this.#abandoned = abandoned;
    this.#release = release;
  }

  /** Notes requests that failed, if one of their statements may still be running. */
  note(claims: readonly OwnedLock[]): void {
    const { pending } = this.#abandoned;
    if (pending === undefined) return;
    for (const claim of claims) {
      const unknown: UnknownRequest = { claim, isRepeated: false, over: pending };
      const all = this.#byName.get(claim.name) ?? new Set();
      this.#byName.set(claim.name, all.add(unknown));
      const released = pending.then(() => unknown.isRepeated || this.#release(claim));
      const ended = released.catch(() => this.#abandoned.pending); // a release without an answer may still take effect
      unknown.over = ended.finally(() => {
        all.delete(unknown);
        if (all.size === 0) this.#byName.delete(claim.name);
      });
    }
  }

  /**
   * Waits, within a bound, until no abandoned statement can take effect on these names.
   *
   * @param acquires Whether the request acquires: then what the same request was granted before is kept.
   * @throws {BackendError} When one still can.
   */
  async settle(what: string, requests: readonly LockRef[], acquires = false): Promise<void> {
    if (this.#byName.size === 0) return;
    const found = requests.flatMap(({ name, owner }) => {
      const all = [...this.#byName.get(name) ?? []];
      for (const unknown of all) if (unknown.claim.owner === owner) unknown.isRepeated = acquires;
      return all;
    });
    if (found.length === 0 || await within(GONE_MS, Promise.all(found.map(({ over }) => over)))) return;
    for (const unknown of found) unknown.isRepeated = false;
    const reason = `an earlier request for ${namesOf(requests)} was not answered, and may still take effect`;
    throw new BackendError(`Cannot ${what}: ${reason}`, { retryable: true });
  }
}
