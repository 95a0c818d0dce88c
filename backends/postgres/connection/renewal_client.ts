import type { About, Client, OwnPool } from "./client.ts";
import type { SqlResult } from "./driver.ts";

/**
 * Sends renewals: through the pool while nothing is under way there, else through a connection of their own, where they
 * wait for nothing else. It is opened when it is first needed.
 */
export class RenewalClient implements Client {
  readonly #pool: OwnPool;
  readonly #own: OwnPool;

  constructor(pool: OwnPool, own: OwnPool) {
    this.#pool = pool;
    this.#own = own;
  }

  get prepare(): boolean {
    return this.#own.prepare;
  }

  set prepare(prepare: boolean) {
    this.#own.prepare = prepare;
  }

  send(text: string, parameters?: (string | null)[], about?: About): Promise<SqlResult> {
    return (this.#pool.idle ? this.#pool : this.#own).send(text, parameters, about);
  }

  discard(): void {
    this.#own.discard();
  }

  close(): Promise<void> {
    return this.#own.close();
  }
}
