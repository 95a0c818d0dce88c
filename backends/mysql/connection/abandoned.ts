/**
 * Statements that this process no longer waits for. They go on at the server and could take effect after the caller got
 * an outcome, so each is ended there, from another connection of the same user.
 *
 * @module
 */
import { Backoff } from "../../../core/util/backoff.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import type { Abandonable, Connection } from "./connection.ts";

/** Pauses between attempts to reach the server (ms). */
const RETRY = { first: 50, longest: 1_000 };
/** How many looks an attempt takes until the connection is gone, and after how many it is killed once more. */
const LOOKS = 60;
const LOOKS_PER_KILL = 20;
/** The longest pause between two looks (ms). */
const LOOK_LONGEST_MS = 20;

/** Ends connections at the server, and knows which of them may still run a statement. */
export class Abandoned {
  /** Whether a connection for the KILL statements is open: the server answers. */
  isReady = false;
  readonly #open: () => Promise<Connection>;
  readonly #ending = new Map<Abandonable, Promise<boolean>>();
  readonly #stopped = new AbortController();
  #control: Promise<Connection> | undefined;
  #users = 0;

  /** @param open Opens a connection for the KILL statements. */
  constructor(open: () => Promise<Connection>) {
    this.#open = open;
  }

  /** Resolves when no abandoned statement can take effect any more; `undefined` when there is none. */
  get pending(): Promise<unknown> | undefined {
    return this.#ending.size === 0 ? undefined : Promise.all(this.#ending.values());
  }

  /** Waits, within a bound, until that is so, and returns whether it is; `undefined` when there is none. */
  settled(milliseconds: number): Promise<boolean> | undefined {
    return this.pending && within(milliseconds, this.pending);
  }

  /** Interrupts the statement that a connection is running. The connection's own answer shows whether it took effect. */
  async interrupt({ id, locate }: Abandonable): Promise<void> {
    await this.use(async (control) => {
      if (await locate(control) === id) await control.query(`KILL QUERY ${id}`);
    });
  }

  /**
   * Ends a connection at the server, however often that has to be tried.
   *
   * @param limit Milliseconds after which it is taken for gone.
   * @returns `true` once it is gone with all that it was doing; `false` when the backend was closed before.
   */
  end(target: Abandonable, limit = Infinity): Promise<boolean> {
    let ending = this.#ending.get(target);
    if (ending === undefined) {
      ending = this.#repeat(target, monotonic() + limit).finally(() => this.#ending.delete(target));
      this.#ending.set(target, ending);
    }
    return ending;
  }

  async #repeat(target: Abandonable, deadline: number): Promise<boolean> {
    const { signal } = this.#stopped;
    const backoff = new Backoff(RETRY);
    while (!signal.aborted) {
      try {
        if (await this.use((control) => kill(control, target, signal))) return true;
      } catch {
        // The server cannot be reached: whether the statement took effect is unknown until it can.
      }
      if (monotonic() > deadline) return true;
      await sleep(backoff.next(), signal, false).catch(() => {});
    }
    return false;
  }

  /** Runs `work` with the connection for KILL statements, which is open only while it is used. */
  async use<T>(work: (control: Connection) => Promise<T>): Promise<T> {
    this.#users++;
    const opening = this.#control ??= this.#open();
    try {
      const control = await opening;
      this.isReady = true;
      return await work(control);
    } finally {
      this.#users--;
      const hasEnded = await opening.then(({ ended }) => ended !== undefined, () => true);
      if (this.#users === 0 || hasEnded) this.#close(opening);
    }
  }

  /** Opens that connection, which a far server takes several round trips for, and keeps it open until `stop`. */
  prepare(): void {
    const { signal } = this.#stopped;
    this.use(() => new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))).catch(() => {});
  }

  #close(opening: Promise<Connection>): void {
    if (this.#control === opening) {
      this.#control = undefined;
      this.isReady = false;
    }
    opening.then((control) => control.end(new Error("Cannot go on: it is not needed any more"), true), () => {});
  }

  /** Stops trying. */
  stop(): void {
    this.#stopped.abort();
    if (this.#control) this.#close(this.#control);
  }
}

/** Kills a connection and waits until it is gone; `false` when that takes long. */
async function kill(control: Connection, { id, locate }: Abandonable, signal: AbortSignal): Promise<boolean> {
  for (let look = 0; look < LOOKS && !signal.aborted; look++) {
    const found = await locate(control);
    if (found === null) return true;
    if (found === id && look % LOOKS_PER_KILL === 0) {
      await control.query(`KILL ${id}`).catch((error) => {
        if (control.ended) throw error; // otherwise the connection is gone already
      });
    }
    await sleep(Math.min(look, LOOK_LONGEST_MS), signal).catch(() => {});
  }
  return false;
}

/** Whether a promise resolves within so many milliseconds, and not to `false`. */
export async function within(milliseconds: number, outcome: Promise<unknown>): Promise<boolean> {
  return await withDeadline(milliseconds, outcome.then((value) => value !== false), () => false);
}
