import type { SessionHandle } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { afterReads, monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";
import { endInstance, inTime } from "../connection/client.ts";
import type { Opened, SqlResult } from "../connection/driver.ts";
import { isBroken, requirePrimary } from "../errors.ts";
import { READ_ONLY } from "../rows/fragments.ts";

/** What a new session says of itself. */
export interface Greeting {
  /** The server's process id. */
  readonly pid: string;
  /** Whether no proxy is in between. */
  readonly direct: boolean;
}

/** Shares of the timeout without a sign of life after which a session is asked, asked again, and given up. */
const ASK_SHARE = 1 / 3;
const ASK_AGAIN_SHARE = 1 / 6;
const GIVE_UP_SHARE = 0.9;

/**
 * One connection of our own, kept for as long as it lives and never silently replaced: locks ride on it. It is asked
 * when nothing was heard for a third of the timeout, and given up before the server, which counts the whole of it from
 * its last answer, ends the connection: what was heard is counted from before its question.
 */
export class Session implements SessionHandle {
  /** The server's process id. */
  readonly pid: string;
  /** Whether no proxy is in between. */
  readonly direct: boolean;
  readonly #instance: Opened;
  readonly #timeout: number;
  readonly #listeners = new Set<() => void>();
  #heardAt: number;
  #ended: Error | undefined;
  #ending: Promise<void> | undefined;
  #timer: Timer | undefined;
  #askedAt = -Infinity;

  /** Called when it ended otherwise than by `close`: the server may not know yet. */
  onLoss: ((reason: Error) => void) | undefined;

  /** @param heardAt When the question was sent that the server has answered (ms, monotonic). */
  constructor(instance: Opened, timeout: number, row: Greeting, heardAt: number) {
    this.#instance = instance;
    this.#timeout = timeout * 1e3;
    this.pid = row.pid;
    this.direct = row.direct;
    this.#heardAt = heardAt;
    this.#arm();
  }

  /** Why it ended. Judged by the clock as well: a process that was stopped runs its timers late. */
  get ended(): Error | undefined {
    if (this.#ended === undefined && monotonic() >= this.#deadline) this.#giveUp();
    return this.#ended;
  }

  /** Calls `listener` once when it ends. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Sends one statement. When no answer comes in time the session is given up: nobody can say what it holds. */
  async send(text: string, parameters: (string | null)[] = [], prepare = true): Promise<SqlResult> {
    if (this.ended) throw this.ended;
    const askedAt = monotonic();
    this.#instance.sockets.ref();
    try {
      const answer = this.#instance.sql.unsafe(text, parameters, { prepare, simple: false });
      const result: SqlResult = await inTime(answer, this.#timeout * GIVE_UP_SHARE / 1e3, () => this.#giveUp());
      if (this.ended) throw this.ended;
      requirePrimary(result);
      this.#heardAt = Math.max(this.#heardAt, askedAt);
      return result;
    } catch (error) {
      if (isBroken(error)) this.end(error as Error);
      else if (this.#ended === undefined) this.#heardAt = Math.max(this.#heardAt, askedAt); // an error is an answer
      throw error;
    } finally {
      this.#instance.sockets.unref();
    }
  }

  /** Keeps the process alive from now on. */
  ref(): void {
    this.#instance.sockets.ref();
  }

  /** The opposite of `ref`. */
  unref(): void {
    this.#instance.sockets.unref();
  }

  /** Ends it in good order. */
  async close(): Promise<void> {
    this.onLoss = undefined;
    this.end(new BackendError("Cannot use a session of PostgreSQL: it was closed"), 1);
    await this.#ending;
  }

  /** When it can no longer be believed (ms, monotonic). */
  get #deadline(): number {
    return this.#heardAt + this.#timeout * GIVE_UP_SHARE;
  }

  /** When to ask for a sign of life. */
  get #askAt(): number {
    const first = this.#heardAt + this.#timeout * ASK_SHARE;
    return this.#askedAt < this.#heardAt ? first : Math.max(first, this.#askedAt + this.#timeout * ASK_AGAIN_SHARE);
  }

  #arm(): void {
    if (this.#ended) return;
    this.#timer = startTimer(
      Math.min(this.#askAt, this.#deadline) - monotonic(),
      () => afterReads(() => this.#check()),
      false,
    );
  }

  /** Asks for a sign of life, and judges the silence once what has arrived was read. */
  #check(): void {
    if (this.ended) return;
    if (monotonic() >= this.#askAt) {
      this.#askedAt = monotonic();
      this.send(`SELECT ${READ_ONLY}`).catch(() => {}); // an end is told to the listeners, anything else is a sign of life
    }
    this.#arm();
  }

  #giveUp(): void {
    const silence = this.#timeout * GIVE_UP_SHARE / 1e3;
    this.end(new BackendError(`Cannot use a session of PostgreSQL: nothing was heard of it for ${silence} s`));
  }

  /** Ends it for a reason, once; what is on its way has `seconds` to arrive. */
  end(reason: Error, seconds = 0): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#timer?.stop();
    this.#ending = endInstance(this.#instance, seconds);
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
    this.onLoss?.(reason);
  }
}
