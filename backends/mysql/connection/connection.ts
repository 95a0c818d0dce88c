import type { SessionHandle } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { afterReads, monotonic, soon, startTimer, type Timer } from "../../../core/util/runtime.ts";
import { endsConnection, isFromServer, isInterruption } from "../errors.ts";
import {
  connectionId,
  type DriverConnection,
  onClosed,
  openConnection,
  send,
  sendAsIs,
  setKeepAlive,
} from "./driver.ts";
import type { Answer } from "./row_shapes.ts";

/** Makes an error as the driver makes them, with a code. */
function driverError(code: string, message: string, cause?: Error): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

/** The error of a server that did not answer within `timeout` (ms). */
export function late(timeout: number, cause?: unknown): Error {
  return driverError("ETIMEDOUT", `no answer within ${timeout / 1e3} s`, cause as Error | undefined);
}

/** How long (ms) the server has to answer after a statement whose answer is late was interrupted there. */
const INTERRUPTED_MS = 1_500;

/** How a connection that has to be gone is found at the server. */
export interface Abandonable {
  /** The server's id of the connection. */
  readonly id: number;
  /** Asks for the present id of the connection; `null` when it is gone. Another id means a proxy: no KILL is safe. */
  locate(control: Connection): Promise<number | null>;
}

/** A statement without an answer yet. */
interface PendingQuery {
  readonly reject: (reason: unknown) => void;
  /** How long its answer may take (ms). */
  readonly timeout: number;
  /** When its answer is late, on the monotonic clock (ms). */
  readonly deadline: number;
  timer?: Timer | undefined;
}

/**
 * A connection of our own. It keeps the process alive only while an answer is awaited, gives up on a server that does
 * not answer, and notifies listeners when it ends.
 */
export class Connection implements SessionHandle {
  /** When it was opened, on the monotonic clock (ms). */
  readonly openedAt: number = monotonic();
  readonly #driver: DriverConnection;
  readonly #answerTimeout: number;
  readonly #listeners = new Set<() => void>();
  readonly #pending = new Set<PendingQuery>();
  #ended: Error | undefined;
  #isInDoubt = false;
  #isInterrupted = false;
  /** How it is found at the server; without it nothing distinguishes it from another connection with the same id. */
  atServer: Abandonable | undefined;
  /** The name of a GET_LOCK that it holds at the server; without it nothing tells the server from another one. */
  marker: string | undefined;
  /** Whether the server may keep locks for it after an end that the server has not noticed. */
  carriesLocks = false;
  /** Interrupts the running statement at the server; without it a late answer ends the connection. */
  interrupt: (() => Promise<void>) | undefined;

  private constructor(driver: DriverConnection, answerTimeout: number) {
    this.#driver = driver;
    this.#answerTimeout = answerTimeout;
    onClosed(driver, (error) => this.end(error ?? new BackendError("Cannot go on: the server closed the connection")));
    setKeepAlive(driver, false);
  }

  /** Opens one, unless `signal` aborts before. `answerTimeout` is how long an answer may take (ms). */
  static async open(config: Record<string, unknown>, answerTimeout: number, signal: AbortSignal): Promise<Connection> {
    return new Connection(await openConnection(config, signal), answerTimeout);
  }

  /** The server's id of the connection. */
  get id(): number {
    return connectionId(this.#driver);
  }

  /** Why it ended; `undefined` while it is open. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /** Whether it has ended while a statement may still run, or locks may still be held, at the server. */
  get isInDoubt(): boolean {
    return this.#isInDoubt;
  }

  /** Calls `listener` once when it ends, or soon when it has ended already. Returns a function that removes it. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#ended) soon(() => this.#listeners.delete(listener) && listener());
    return () => this.#listeners.delete(listener);
  }

  /**
   * Sends one statement. If the answer takes longer than `timeout` (ms), the statement is interrupted at the server, so
   * that its answer shows whether it took effect, and the connection ends.
   */
  query(sql: string, timeout: number = this.#answerTimeout): Promise<Answer> {
    return this.#request(() => send(this.#driver, sql), timeout);
  }

  /** Sends one statement of the caller; the answer is the driver's own. */
  queryAsIs<Result>(sql: string, parameters: readonly unknown[]): Promise<Result> {
    return this.#request(() => sendAsIs<Result>(this.#driver, sql, parameters), Infinity);
  }

  #request<T>(request: () => Promise<T>, timeout: number): Promise<T> {
    if (this.#ended) return Promise.reject(this.#lost());
    return new Promise<T>((resolve, reject) => {
      const pending: PendingQuery = { reject, timeout, deadline: monotonic() + timeout };
      if (this.#pending.size === 0) setKeepAlive(this.#driver, true);
      this.#pending.add(pending);
      if (timeout < Infinity) this.#limit(pending, timeout);
      request().then((answer) => {
        this.#answered(pending);
        resolve(answer);
      }, (error) => {
        this.#answered(pending);
        if (endsConnection(error)) {
          this.#isInDoubt = !isFromServer(error); // otherwise the statement has ended
          this.end(error as Error);
        }
        reject(this.#isInterrupted && isInterruption(error) ? late(timeout, error) : error);
      });
    });
  }

  #answered(pending: PendingQuery): void {
    pending.timer?.stop();
    if (!this.#pending.delete(pending)) return;
    if (this.#pending.size === 0) setKeepAlive(this.#driver, false);
    // KILL QUERY may arrive after the statement that it was meant for, and would interrupt the next one.
    if (this.#isInterrupted) this.end(late(pending.timeout));
  }

  /** Interrupts a statement, or ends the connection, if there is no answer within so many milliseconds. */
  #limit(pending: PendingQuery, milliseconds: number): void {
    pending.timer = startTimer(milliseconds, () => afterReads(() => this.#onLate(pending)), false); // the socket keeps the process alive
  }

  #onLate(pending: PendingQuery): void {
    if (!this.#pending.has(pending)) return;
    const left = pending.deadline - monotonic();
    if (left > 0) return this.#limit(pending, left); // Node's timers fire up to a millisecond early
    if (!this.interrupt || this.#isInterrupted) return this.end(late(pending.timeout));
    this.#isInterrupted = true;
    this.interrupt().catch(() => {}); // then there is no answer, and the connection ends
    this.#limit(pending, INTERRUPTED_MS);
  }

  #lost(): Error {
    return driverError("PROTOCOL_CONNECTION_LOST", "the connection was lost", this.#ended);
  }

  /** Ends it; the server frees all locks that it held. `orderly` is an end that the server notices for certain. */
  end(reason: Error, orderly = false): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#isInDoubt ||= this.#pending.size > 0 || (this.carriesLocks && !orderly);
    this.#driver.destroy();
    for (const { reject, deadline, timeout, timer } of this.#pending) {
      timer?.stop();
      reject(this.#isInterrupted || deadline <= monotonic() ? late(timeout) : this.#lost());
    }
    this.#pending.clear();
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
  }
}
