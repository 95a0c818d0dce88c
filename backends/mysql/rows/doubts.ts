import { namesOf } from "../../../core/util/requests.ts";
import type { OwnedLock } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { type Abandoned, within } from "../connection/abandoned.ts";
import { GONE_MS } from "../connection/connector.ts";

/** A request whose statement may still take effect although its caller was told an error. */
interface Doubt {
  readonly claim: OwnedLock;
  /** Whether the same request is made again: then what it is granted is wanted. */
  wanted: boolean;
  /** Resolves when the statement has ended at the server, and what it was granted is given back. */
  over: Promise<unknown>;
}

/**
 * Requests that were answered with an error while their statements could not be ended at the server, as when it cannot be
 * reached. Nothing is asked for their names before that is done, and what they were granted is given back.
 */
export class Doubts {
  readonly #abandoned: Abandoned;
  readonly #giveBack: (claim: OwnedLock) => Promise<unknown>;
  readonly #doubts = new Map<string, Set<Doubt>>();

  constructor(abandoned: Abandoned, giveBack: (claim: OwnedLock) => Promise<unknown>) {
    this.#abandoned = abandoned;
    this.#giveBack = giveBack;
  }

  /** Notes requests that failed, if one of their statements may still be running. */
  note(claims: readonly OwnedLock[]): void {
    const { pending } = this.#abandoned;
    if (pending === undefined) return;
    for (const claim of claims) {
      const doubt: Doubt = { claim, wanted: false, over: pending };
      const doubts = this.#doubts.get(claim.name) ?? new Set();
      this.#doubts.set(claim.name, doubts.add(doubt));
      doubt.over = pending.then(() => doubt.wanted || this.#giveBack(claim)).catch(() => {}).finally(() => {
        doubts.delete(doubt);
        if (doubts.size === 0) this.#doubts.delete(claim.name);
      });
    }
  }

  /**
   * Waits, within a bound, until no statement that was given up can take effect on these names.
   *
   * @param again Whether the names are asked for: what the same request was granted before is not given back then.
   * @throws {BackendError} When one still can.
   */
  async settle(
    what: string,
    claims: readonly { readonly name: string; readonly owner: string | null }[],
    again = false,
  ) {
    if (this.#doubts.size === 0) return;
    const doubts = claims.flatMap(({ name, owner }) => {
      const all = [...this.#doubts.get(name) ?? []];
      for (const doubt of all) if (doubt.claim.owner === owner) doubt.wanted = again;
      return all;
    });
    if (doubts.length === 0 || await within(GONE_MS, Promise.all(doubts.map(({ over }) => over)))) return;
    for (const doubt of doubts) doubt.wanted = false;
    const reason = `an earlier request for ${namesOf(claims)} was not answered, and may still take effect`;
    throw new BackendError(`Cannot ${what}: ${reason}`, { retryable: true });
  }
}
