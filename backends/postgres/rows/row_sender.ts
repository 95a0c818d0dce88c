import type { Client } from "../connection/client.ts";
import { isConflict, isMissing, translate } from "../errors.ts";
import { sleep } from "../../../core/util/runtime.ts";
import type { Row } from "./rows.ts";

/** How often a statement that got into another's way is sent again, and the longest pause before that (ms). */
const CONFLICTS = 30;
const CONFLICT_PAUSE = 20;

/** Sends the statements of one table: again after a conflict, and once more after the table was restored. */
export class RowSender {
  readonly #client: Client;
  readonly #restore: () => Promise<void>;
  readonly #closing: AbortSignal;

  /**
   * @param restore Makes sure of the table again, after somebody dropped it.
   * @param closing Ends the pauses.
   */
  constructor(client: Client, restore: () => Promise<void>, closing: AbortSignal) {
    this.#client = client;
    this.#restore = restore;
    this.#closing = closing;
  }

  /** Waits so many milliseconds before a further try; ends with the backend. */
  async pause(milliseconds: number): Promise<void> {
    await sleep(milliseconds, this.#closing);
  }

  /** Gives up the connections there are, where they are our own. */
  discard(): void {
    this.#client.discard?.();
  }

  /**
   * @param what What is to be done, for an error's sentence.
   * @param about The locks that must not be touched by a statement that was given up before.
   */
  async send(
    what: () => string,
    statement: string,
    parameters: (string | null)[],
    about?: readonly { readonly name: string }[],
  ): Promise<readonly Row[]> {
    for (let conflicts = 0, restored = false;;) {
      try {
        return await this.#client.send(statement, parameters, about);
      } catch (error) {
        if (isConflict(error) && conflicts++ < CONFLICTS) {
          await this.pause(Math.random() * Math.min(conflicts, CONFLICT_PAUSE));
        } else if (isMissing(error) && !restored) {
          restored = true;
          await this.#restore();
        } else throw translate(what(), error);
      }
    }
  }
}
