import { BackendError } from "../../../core/errors.ts";
import { monotonic, startTimer } from "../../../core/util/runtime.ts";
import type { Connection } from "../connection/connection.ts";

/** How long the server lets a process wait for its turn before it asks anew (s), at the end of the queue. */
const PATIENCE = 5;
/** Who had to wait so long for its turn (ms) has it from one who has just released the name. */
const QUEUED = 2;
/** How long a holder keeps its turn (ms): with a longer hold a hand-over may take some milliseconds more. */
const KEPT = 1_000;
/**
 * Pauses between looks (ms) where the holder has no turn: an eighth of how long it has held, within these bounds. Who
 * holds for seconds is not looked at a thousand times a second.
 */
const LOOK_FIRST = 1;
const LOOK_LAST = 25;
const LOOK_SHARE = 1 / 8;
/** How often giving a turn back is tried when the statement is killed each time. */
const TRIES = 3;

/** The turn of this process to take one name, or its wait for the turn. */
export class Turn {
  readonly #question: string;
  readonly #wake: () => void;
  #state: "wanted" | "kept" | "over" = "wanted";
  #bell: (() => void) | undefined;

  /** @param question Asks for the name and the owner. @param wake Wakes those who wait for the name. */
  constructor(question: string, wake: () => void) {
    this.#question = question;
    this.#wake = wake;
  }

  /** Whether somebody of this process waits for the name. */
  get wanted(): boolean {
    return this.#state === "wanted";
  }

  /** Whether this process has the name. */
  get kept(): boolean {
    return this.#state === "kept";
  }

  /** Another has the name, and somebody of this process waits for it. */
  want(): void {
    this.#go("wanted");
  }

  /** This process has the name. */
  keep(): void {
    this.#go("kept");
  }

  /** Neither waits for the name nor has it. */
  end(): void {
    this.#go("over");
  }

  #go(state: "wanted" | "kept" | "over"): void {
    this.#state = state;
    this.#bell?.();
  }

  /** Waits for the turn, and has it until it is over; `false` when the server did not keep it for this connection. */
  async take(connection: Connection, lock: string): Promise<boolean> {
    while (this.wanted) {
      const askedAt = monotonic();
      const { rows: [[got]] } = await connection.linger(`SELECT GET_LOCK('${lock}', ${PATIENCE})`, PATIENCE * 1e3);
      if (got === null) {
        throw new BackendError("Cannot wait for a turn: the server refused or the statement was killed");
      }
      if (got === "0") continue;
      try {
        await this.#use(connection, monotonic() - askedAt > QUEUED);
      } catch (error) {
        await giveBack(connection, lock);
        throw error;
      }
      if (!await giveBack(connection, lock)) return false;
    }
    return true;
  }

  async #use(connection: Connection, queued: boolean): Promise<void> {
    if (this.wanted && queued) await this.#try();
    while (this.wanted) await this.#look(connection);
    if (this.kept) await this.#pause(KEPT);
  }

  /** The name should be free. */
  async #try(): Promise<void> {
    this.#wake();
    await this.#pause(LOOK_LAST);
  }

  /** Looks again and again until the holder or this process's wish changes. */
  async #look(connection: Connection): Promise<void> {
    const since = monotonic();
    let first: string | null | undefined;
    while (this.wanted) {
      const { rows: [row] } = await connection.query(this.#question);
      if (!this.wanted) return;
      if (!row) return await this.#try();
      if (row[1] !== (first ??= row[1])) return;
      await this.#pause(Math.min(Math.max((monotonic() - since) * LOOK_SHARE, LOOK_FIRST), LOOK_LAST));
    }
  }

  /** A pause that ends early when something was heard of the name. */
  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        timer.stop();
        this.#bell = undefined;
        resolve();
      };
      const timer = startTimer(milliseconds, done, false); // whoever waits keeps the process alive
      this.#bell = done;
    });
  }
}

/** Gives a turn back, or ends the connection; `false` when it was not there: somebody between us and the server has it. */
async function giveBack(connection: Connection, lock: string): Promise<boolean> {
  for (let tries = 1;; tries++) {
    try {
      return (await connection.query(`SELECT RELEASE_LOCK('${lock}')`)).rows[0][0] === "1";
    } catch (error) {
      if (connection.ended) return true;
      if (tries === TRIES) connection.end(error as Error);
    }
  }
}
