import { namesOf } from "../../../core/util/requests.ts";
import type { LockRow, RenewRequest } from "../../../core/backend.ts";
import { inOrderOf } from "./results.ts";
import { isRowLocked } from "../errors.ts";
import { retriedWhileLocked } from "./release.ts";
import type { RowSender } from "./row_sender.ts";
import { type Row, toLockRow } from "./rows.ts";
import { RENEW_FIELDS, type Statements } from "./statements.ts";
import { parametersOf, severalOf, wishOf } from "./params.ts";

/** Extends locks. A row that a guarded transaction has locked keeps no connection and no other renewal waiting. */
export class Renewer {
  readonly #sender: RowSender;
  readonly #sql: Statements;

  constructor(sender: RowSender, sql: Statements) {
    this.#sender = sender;
    this.#sql = sql;
  }

  /**
   * Extends each lock that is live. Of several, one whose row is locked is answered as it is: not extended yet, and it
   * says until when it holds. One alone is tried for again for some seconds.
   */
  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const statement = requests.length === 1 ? this.#sql.renew : this.#sql.renewEach;
    try {
      return inOrderOf(
        requests,
        await this.#send(requests, statement, parametersOf(requests.map(wishOf), RENEW_FIELDS)),
      );
    } catch (error) {
      if (!isRowLocked((error as Error).cause)) throw error;
      if (requests.length > 1) return await this.#renewUnlocked(requests);
      return [await retriedWhileLocked(this.#sender, error as Error, () => this.#renewOne(requests[0]))];
    }
  }

  async #renewUnlocked(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const rows = await this.#send(requests, this.#sql.renewUnlocked, severalOf(requests.map(wishOf), RENEW_FIELDS));
    const renewed = inOrderOf(requests, rows);
    const left = requests.filter((_request, index) => renewed[index] === undefined);
    if (left.length === 0) return renewed;
    const found = await this.#send(left, this.#sql.heldEach, severalOf(left.map(wishOf), ["name", "owner"]));
    const asTheyAre = new Map(found.map((row) => [row.name, toLockRow(row)]));
    return renewed.map((row, index) => row ?? asTheyAre.get(requests[index].name));
  }

  /** One try; no answer while the row is locked. */
  async #renewOne(request: RenewRequest): Promise<{ answer: LockRow | undefined } | undefined> {
    const parameters = severalOf([wishOf(request)], RENEW_FIELDS);
    const [row] = await this.#send([request], this.#sql.renewUnlocked, parameters);
    if (row) return { answer: toLockRow(row) };
    const [held] = await this.#send([request], this.#sql.heldEach, severalOf([wishOf(request)], ["name", "owner"]));
    return held ? undefined : { answer: undefined };
  }

  #send(requests: readonly RenewRequest[], statement: string, parameters: (string | null)[]): Promise<readonly Row[]> {
    return this.#sender.send(() => `renew ${namesOf(requests)}`, statement, parameters);
  }
}
