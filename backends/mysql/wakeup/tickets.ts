import { defer } from "../../../core/util/runtime.ts";
import type { Connection } from "../connection/connection.ts";
import type { Polling } from "./polling.ts";
import { Turn } from "./ticket.ts";

/** Names for which this process has a turn or waits for one, at most: each takes a connection meanwhile. */
const MOST = 4;

/** What turns need of their backend. */
export interface TurnSource {
  /** How many connections there may be. */
  readonly connections: number;
  /** The server's own lock that is the turn for a name; `undefined` where such locks do not hold. */
  nameOfTurn(name: string): Promise<string | undefined>;
  /** Lends a connection for as long as `work` takes. */
  borrow(work: (connection: Connection) => Promise<void>): Promise<void>;
  /** The statement that answers with the name and the owner when it is held. */
  look(name: string): string;
  /** The name was seen free. */
  noteFree(name: string): void;
}

/**
 * Whose turn it is. Of all processes that wait for a name one has the turn, a GET_LOCK; the others wait for it within
 * the server, in order, and cost nothing. Who takes the name in its turn keeps the turn until it has released the name:
 * so the next one knows at once. Only where the holder came without a turn the one who has it looks at the row again
 * and again. Without turns all see a free name at the same moment, and all but one have tried in vain. Turns are hints:
 * who has none looks now and then, and the row decides.
 */
export class Turns {
  readonly #source: TurnSource;
  readonly #polling: Polling;
  readonly #turns = new Map<string, Turn>();
  readonly #most: number;
  readonly #running = new Set<Promise<void>>();
  #useless = false;

  constructor(source: TurnSource, polling: Polling) {
    this.#source = source;
    this.#polling = polling;
    this.#most = Math.min(MOST, Math.floor((source.connections - 1) / 2));
  }

  /** What came of an attempt of this process: it has the name by now, or another has. */
  heard(name: string, ours: boolean): void {
    const turn = this.#turns.get(name);
    if (ours) turn?.keep();
    else if (turn) turn.want();
    else if (!this.#useless && this.#turns.size < this.#most && this.#polling.isAwaited(name)) this.#start(name);
  }

  /** This process releases the name; whether others may be in line. */
  pass(name: string): boolean {
    const turn = this.#turns.get(name);
    if (turn?.kept) turn.end();
    return turn !== undefined;
  }

  /** A wait of this process is over. */
  left(name: string): void {
    const turn = this.#turns.get(name);
    if (turn?.wanted && !this.#polling.isAwaited(name)) turn.end();
  }

  /** Gives up all turns; they are over when their connections have ended. */
  async close(): Promise<void> {
    this.#useless = true;
    for (const turn of this.#turns.values()) turn.end();
    if (this.#running.size === 0) return;
    await Promise.all(this.#running);
    await new Promise<void>(defer); // what was being written to a socket is over then too
  }

  #start(name: string): void {
    const running = this.#queue(name).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #queue(name: string): Promise<void> {
    const turn = new Turn(this.#source.look(name), () => {
      this.#source.noteFree(name);
      this.#polling.wake(name);
    });
    this.#turns.set(name, turn);
    let again = false;
    try {
      const lock = await this.#source.nameOfTurn(name);
      this.#useless ||= lock === undefined;
      if (lock !== undefined) {
        await this.#source.borrow(async (connection) => {
          this.#polling.setSeldom(name, true);
          this.#useless ||= !await turn.take(connection, lock);
        });
        again = turn.wanted; // by an attempt that came after its end
      }
    } catch {
      // A hint that cannot be had is no error: the looks go on, and the next try tells of a broken server.
    }
    this.#turns.delete(name);
    this.#polling.setSeldom(name, false);
    if (again) this.heard(name, false);
  }
}
