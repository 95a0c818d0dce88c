import { BackendError } from "../../../core/errors.ts";
import type { SessionHandle } from "../../../core/backend.ts";
import { defer, monotonic, soon, startTimer, type Timer } from "../../../core/util/runtime.ts";
import { type Answer, type DriverConnection, openConnection, send, sendAsIs } from "./driver.ts";
import { endsConnection, isFromServer, isInterruption } from "../errors.ts";

/** An error as the driver makes it, with a code that says what happened. */
export function driverError(code: string, message: string, cause?: Error): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

/** The server did not answer in time (ms). */
export function late(patience: number, cause?: unknown): Error {
  return driverError("ETIMEDOUT", `no answer within ${patience / 1e3} s`, cause as Error | undefined);
}

/** How long (ms) the server has to answer once a statement whose answer is late was interrupted there. */
const INTERRUPTED_MS = 1_500;

/** What was asked and is not answered yet. */
interface Question {
  readonly reject: (reason: unknown) => void;
  /** When its answer is late, on the monotonic clock (ms), and after how long (ms). */
  until: number;
  readonly patience: number;
  /** Whether the process stays alive for it. */
  readonly keepsAlive: boolean;
}

/**
 * One connection of our own. It never keeps the process alive unless an answer is awaited, gives up on a server that
 * does not answer, and tells when it ends.
 */
export class Connection implements SessionHandle {
  /** When it was opened, on the monotonic clock (ms). */
  readonly openedAt: number = monotonic();
  readonly #driver: DriverConnection;
  readonly #patience: number;
  readonly #listeners = new Set<() => void>();
  readonly #questions = new Set<Question>();
  #keeping = 0;
  #timer: Timer | undefined;
  #lookingAt = Infinity;
  #ended: Error | undefined;
  #isInDoubt = false;
  #isInterrupted = false;
  /** The name of a GET_LOCK of the server's that this connection keeps: it tells the connection from any other. */
  marker: string | undefined;
  /** Whether the server may keep locks for it after an end that it has not noticed. */
  carriesLocks = false;
  /** Ends at the server the statement that is running; without it a late answer ends the connection. */
  interrupt: (() => Promise<void>) | undefined;

  private constructor(driver: DriverConnection, patience: number) {
    this.#driver = driver;
    this.#patience = patience;
    const gone = () => this.end(new BackendError("Cannot go on: the server closed the connection"));
    driver.on("error", (error) => this.end(error ?? new Error("unknown error")));
    driver.on("end", gone);
    driver.stream && (driver.stream as unknown as DriverConnection).on("close", gone);
    driver.stream?.unref?.();
  }

  /** Opens one, unless `signal` aborts before. `patience` is how long an answer may take (ms). */
  static async open(config: Record<string, unknown>, patience: number, signal: AbortSignal): Promise<Connection> {
    return new Connection(await openConnection(config, signal), patience);
  }

  /** The connection id of the server's greeting. */
  get id(): number {
    return this.#driver.threadId ?? 0;
  }

  /** Why it ended; `undefined` while it lives. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /** Whether it has ended while a statement, or locks, may go on at the server. */
  get isInDoubt(): boolean {
    return this.#isInDoubt;
  }

  /** Calls `listener` once when it ends, or soon when it has ended already. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#ended) soon(() => this.#listeners.delete(listener) && listener());
    return () => this.#listeners.delete(listener);
  }

  /**
   * Sends one statement. When the answer takes longer than `patience` (ms) the statement is interrupted at the server, so
   * that its answer says what came of it, and the connection is ended: what the server goes on doing must not be mistaken
   * for something that was given up.
   */
  query(sql: string, patience: number = this.#patience): Promise<Answer> {
    return this.#awaited(() => send(this.#driver, sql), patience);
  }

  /** Sends one statement that the server may take so long (ms) to answer; meanwhile the process may end. */
  linger(sql: string, milliseconds: number): Promise<Answer> {
    return this.#awaited(() => send(this.#driver, sql), this.#patience + milliseconds, false);
  }

  /** Sends one statement of the caller's, and answers as the driver does. */
  queryAsIs<Result>(sql: string, parameters: readonly unknown[]): Promise<Result> {
    return this.#awaited(() => sendAsIs<Result>(this.#driver, sql, parameters), Infinity);
  }

  /** One request; when the connection ends before its answer, or the answer is late, it fails. */
  #awaited<T>(request: () => Promise<T>, patience: number, keepsAlive = true): Promise<T> {
    if (this.#ended) return Promise.reject(this.#lost());
    return new Promise<T>((resolve, reject) => {
      const question = { reject, until: monotonic() + patience, patience, keepsAlive };
      if (keepsAlive && this.#keeping++ === 0) this.#driver.stream?.ref?.();
      this.#questions.add(question);
      this.#lookAt(question.until);
      request().then((answer) => {
        this.#answered(question);
        resolve(answer);
      }, (error) => {
        this.#answered(question);
        if (endsConnection(error)) {
          this.#isInDoubt = !isFromServer(error); // else the server has answered
          this.end(error as Error);
        }
        reject(this.#isInterrupted && isInterruption(error) ? late(patience, error) : error);
      });
    });
  }

  #answered(question: Question): void {
    if (!this.#questions.delete(question)) return;
    if (question.keepsAlive && --this.#keeping === 0) this.#driver.stream?.unref?.();
    // The KILL QUERY may come after the statement that it was meant for, and would meet the next one.
    if (this.#isInterrupted) this.end(late(question.patience));
  }

  /**
   * Has somebody look after late answers at that moment. One timer for all questions, which is left alone when an
   * answer came: to start and stop one for each takes longer than all else that is done here.
   */
  #lookAt(moment: number): void {
    if (moment >= this.#lookingAt || moment === Infinity) return;
    this.#timer?.stop();
    this.#lookingAt = moment;
    this.#timer = startTimer(moment - monotonic(), () => this.#look(), false); // the socket keeps the process alive
  }

  /** An answer that has arrived is read before it is called late: after a stall of this process timers come first. */
  #look(): void {
    this.#lookingAt = Infinity;
    defer(() => defer(() => this.#judge()));
  }

  #judge(): void {
    if (this.#ended) return;
    const now = monotonic();
    let next = Infinity;
    for (const question of this.#questions) {
      if (question.until <= now) {
        if (!this.interrupt || this.#isInterrupted) return this.end(late(question.patience));
        this.#isInterrupted = true;
        this.interrupt().catch(() => {}); // then the answer does not come, and the connection is ended
        question.until = now + INTERRUPTED_MS;
      }
      next = Math.min(next, question.until);
    }
    this.#lookAt(next);
  }

  #lost(): Error {
    return driverError("PROTOCOL_CONNECTION_LOST", "the connection was lost", this.#ended);
  }

  /** Ends it; the server frees all that it held. `orderly` is an end that the server is bound to notice. */
  end(reason: Error, orderly = false): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#isInDoubt ||= this.#questions.size > 0 || (this.carriesLocks && !orderly);
    this.#timer?.stop();
    this.#driver.destroy();
    for (const { reject, until, patience } of this.#questions) {
      reject(this.#isInterrupted || until <= monotonic() ? late(patience) : this.#lost());
    }
    this.#questions.clear();
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
  }
}
