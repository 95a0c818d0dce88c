import { monotonic, startTimer, type Timer } from "../../core/runtime.ts";
import type { Client } from "./client.ts";
import type { Session } from "./session.ts";

/** Pause between looks (ms). */
const PAUSE = 1_000;

/** Which sessions are in the server's queues. `(JSON array of process ids)` */
const QUEUED = `
  SELECT l.pid::text AS pid FROM json_array_elements_text($1::text::json) AS mine (pid)
  JOIN pg_locks AS l ON l.pid = mine.pid::integer AND l.locktype = 'advisory' AND NOT l.granted`;

/**
 * Looks whether the server still has the places of those who wait: a connection that waits gives no sign of life, and a
 * network may have swallowed its answer. One that waits by our reckoning, and twice in a row not by the server's, is
 * closed; its waiter then goes on by another.
 */
export class Lookout {
  readonly #client: Client;
  readonly #waiting: () => readonly Session[];
  #missed = new Set<Session>();
  #timer: Timer | undefined;
  #over = false;

  constructor(client: Client, waiting: () => readonly Session[]) {
    this.#client = client;
    this.#waiting = waiting;
  }

  /** Looks from now on, for as long as anybody waits. */
  start(): void {
    if (!this.#over) this.#timer ??= startTimer(PAUSE, () => void this.#look(), false);
  }

  /** Looks no more. */
  stop(): void {
    this.#over = true;
    this.#timer?.stop();
  }

  async #look(): Promise<void> {
    try {
      this.#missed = await this.#findMissing(this.#waiting());
    } catch {
      // a server that does not answer here breaks the connections that wait as well
    }
    this.#timer = undefined;
    if (this.#waiting().length > 0) this.start();
  }

  async #findMissing(waiting: readonly Session[]): Promise<Set<Session>> {
    const missing = new Set<Session>();
    if (waiting.length === 0) return missing;
    const askedAt = monotonic();
    const rows = await this.#client.send(QUEUED, [JSON.stringify(waiting.map(({ pid }) => pid))]);
    const queued = new Set(rows.map(({ pid }) => pid));
    for (const session of waiting) {
      if (queued.has(session.pid) || (session.waitsSince ?? Infinity) > askedAt - PAUSE) continue;
      if (this.#missed.has(session)) await session.close();
      else missing.add(session);
    }
    return missing;
  }
}
