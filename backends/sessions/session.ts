import type { SessionHandle } from "../../core/backend.ts";
import { BackendError } from "../../core/errors.ts";
import { afterReads, monotonic, soon, startTimer, type Timer } from "../../core/util/runtime.ts";

/** Shares of the session timeout without an answer: after the first a heartbeat is sent, after the second the session is given up. */
const HEARTBEAT_SHARE = 1 / 3;
const GIVE_UP_SHARE = 0.9;

/**
 * A dedicated connection that carries server locks and is never silently replaced. The server ends it after `timeout`
 * seconds of silence. This side gives it up earlier, so a holder knows of the loss before another client can acquire its
 * locks: silence is counted from before the request of the last answer.
 */
export abstract class Session implements SessionHandle {
  /** The server's id of the connection: a process or connection id. */
  readonly id: string;
  readonly #heartbeatAfter: number;
  readonly #giveUpAfter: number;
  readonly #listeners = new Set<() => void>();
  #heardAt: number;
  #beating = false;
  #timer: Timer | undefined;
  #ended: Error | undefined;
  #disconnected: Promise<void> | undefined;

  /**
   * @param timeout Seconds of silence after which the server ends the connection.
   * @param heardAt When the request was sent that the server has answered last (ms, monotonic).
   */
  constructor(id: string, timeout: number, heardAt: number) {
    this.id = id;
    this.#heartbeatAfter = timeout * 1e3 * HEARTBEAT_SHARE;
    this.#giveUpAfter = timeout * 1e3 * GIVE_UP_SHARE;
    this.#heardAt = heardAt;
    this.#schedule();
  }

  /** Asks for a sign of life. Rejects, and ends the session, where the server takes no writes: the primary grants the same locks. */
  protected abstract ping(): Promise<unknown>;

  /** Whether the connection is of no use after this error. */
  protected abstract isFatal(error: unknown): boolean;

  /** Closes the connection; unless `orderly`, the server may not notice it yet. */
  protected abstract disconnect(reason: Error, orderly: boolean): Promise<void>;

  /** Milliseconds without an answer after which the session is given up. */
  protected get giveUpAfter(): number {
    return this.#giveUpAfter;
  }

  /** Why it ended; `undefined` while it lives. Judged by the clock as well: a process that was stopped runs its timers late. */
  get ended(): Error | undefined {
    if (this.#ended === undefined && monotonic() >= this.#heardAt + this.#giveUpAfter) this.giveUp();
    return this.#ended;
  }

  /** Calls `listener` once when it ends, or soon when it has ended already. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#ended) soon(() => this.#listeners.delete(listener) && listener());
    return () => this.#listeners.delete(listener);
  }

  /** Sends a heartbeat now, unless one is under way. */
  heartbeat(): void {
    if (this.#beating || this.ended) return;
    this.#beating = true;
    const answered = () => {
      this.#beating = false;
      this.#schedule();
    };
    this.ping().then(answered, answered); // an error is a sign of life too, unless it ends the session
  }

  /** Ends it for a reason, once. */
  end(reason: Error, orderly = false): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#timer?.stop();
    this.#disconnected = this.disconnect(reason, orderly);
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
  }

  /** Ends it in good order; the server frees its locks. */
  async close(): Promise<void> {
    this.end(new BackendError("Cannot use the session: it was closed"), true);
    await this.#disconnected;
  }

  /** Ends it because the server is silent. */
  protected giveUp(): void {
    const reason = `nothing was heard of the server for ${this.#giveUpAfter / 1e3} s`;
    this.end(new BackendError(`Cannot use the session: ${reason}`, { retryable: true }));
  }

  /** Runs one exchange with the server. Any answer is a sign of life, an error that leaves the connection as well. */
  protected async exchange<T>(request: () => Promise<T>): Promise<T> {
    if (this.ended) throw lost(this.ended);
    const sentAt = monotonic();
    try {
      const answer = await request();
      if (this.ended) throw lost(this.ended);
      this.#heardAt = Math.max(this.#heardAt, sentAt);
      return answer;
    } catch (error) {
      if (this.isFatal(error)) this.end(error as Error);
      else if (this.#ended === undefined) this.#heardAt = Math.max(this.#heardAt, sentAt);
      throw error;
    }
  }

  /** Runs one exchange whose answer may take long: a heartbeat would wait behind it, and silence says nothing. */
  protected async withoutHeartbeats<T>(request: () => Promise<T>): Promise<T> {
    this.#heardAt = Infinity;
    this.#schedule();
    try {
      return await this.exchange(request);
    } finally {
      this.#heardAt = monotonic();
      this.#schedule();
    }
  }

  /** Judges the silence after arrived answers were read: after a stall, timers run before sockets are read. */
  #schedule(): void {
    this.#timer?.stop();
    if (this.#ended) return;
    const silence = this.#beating ? this.#giveUpAfter : this.#heartbeatAfter;
    this.#timer = startTimer(this.#heardAt + silence - monotonic(), () => afterReads(() => this.#check()), false);
  }

  #check(): void {
    if (this.ended) return;
    if (monotonic() >= this.#heardAt + this.#heartbeatAfter) this.heartbeat();
    this.#schedule();
  }
}

/** The error of a statement on a session that has ended. */
function lost(cause: Error): Error {
  return new BackendError("Cannot use the session: it has ended", { cause, retryable: true });
}
