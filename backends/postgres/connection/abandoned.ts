import { BackendError } from "../../../core/errors.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { monotonic, startTimer } from "../../../core/util/runtime.ts";
import { type About, endInstance, inTime } from "./client.ts";
import type { Opened, Query, Source } from "./driver.ts";
import { namesOf } from "../../../core/util/requests.ts";

/** How long a statement waits for the end of an earlier one that was given up (ms), and disposal for all of them. */
const SETTLE_MS = 2_000;
const CLOSE_MS = 1_000;
/** How many connections that the server has ended are remembered. */
const MOST_ENDED = 100;
/** Seconds to wait for an answer here. */
const ANSWER_TIMEOUT = 5;
/** Pauses between looks whether a connection is gone, and before the server is asked again (ms): doubling. */
const PAUSE_FIRST_MS = 5;
const PAUSE_LAST_MS = 500;

/**
 * Ends a connection of this role and program; no row when it is gone. The server ends a transaction before it takes the
 * connection off this list, also one that waits for a synchronous standby: that one is committed then. `(pid)`
 */
const TERMINATE = ending("pg_terminate_backend");
/** Cancels what such a connection is working on. `(pid)` */
const CANCEL = ending("pg_cancel_backend");

function ending(how: string): string {
  return `
  SELECT ${how}(a.pid)::text AS sent FROM pg_stat_activity AS a
  WHERE a.pid = $1::text::integer AND a.pid <> pg_backend_pid() AND a.usename = session_user
    AND a.application_name = current_setting('application_name')`;
}

/** What was given up on one connection. */
interface GivenUp {
  readonly about: About;
  /** The statement, where the connection is the caller's and has to stay. */
  readonly statement?: { readonly query: Query; over: boolean };
}

/**
 * Connections that this process has given up, by the server's process ids. The server may still run what was sent on
 * them, behind a lock of the table or while it waits for a standby: each is ended there, from another connection, so
 * that nothing takes effect after its caller was told something else.
 */
export class AbandonedConnections {
  readonly #source: Source;
  readonly #left = new Map<string, GivenUp>();
  readonly #ended = new Set<string>();
  #ending: Promise<void> | undefined;
  #opened: Opened | undefined;
  #closed = false;
  #endPause: (() => void) | undefined;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Whether anything is left. */
  get any(): boolean {
    return this.#left.size > 0;
  }

  /** The server has ended a connection by itself. */
  noteEnded(pid: string): void {
    if (this.#ended.size === MOST_ENDED) this.#ended.clear();
    this.#ended.add(pid);
  }

  /** Has the server end a connection. */
  add(pid: string, about: About): void {
    if (this.#ended.has(pid)) return;
    if (this.#closed) return;
    this.#give(pid, { about: [...this.#left.get(pid)?.about ?? [], ...about] });
  }

  /** Has the server cancel a statement on a connection that stays. */
  cancel(pid: string, about: About, query: Query): void {
    const statement = { query, over: false };
    const over = () => void (statement.over = true);
    query.then(over, over);
    this.#give(pid, { about, statement });
  }

  #give(pid: string, given: GivenUp): void {
    if (this.#closed) return;
    this.#left.set(pid, given);
    this.#ending ??= this.#endAll().finally(() => this.#ending = undefined);
  }

  /**
   * Waits until nothing that was given up can take effect on these names.
   *
   * @param about The names; without them all are waited for.
   * @throws {BackendError} When the server does not say so in time.
   */
  async settled(about?: About): Promise<void> {
    const until = monotonic() + SETTLE_MS;
    while (this.#concerns(about)) {
      const left = until - monotonic();
      if (left <= 0) {
        const what = about ? `change ${namesOf(about)}` : "acquire a lock";
        throw new BackendError(`Cannot ${what}: an earlier statement was given up and may still take effect`, {
          retryable: true,
        });
      }
      await withDeadline(Math.min(left, PAUSE_LAST_MS), this.#ending ?? Promise.resolve());
    }
  }

  #concerns(about: About | undefined): boolean {
    if (this.#left.size === 0) return false;
    if (about === undefined) return true;
    const names = new Set(about.map(({ name }) => name));
    return [...this.#left.values()].some(({ about }) => about.some(({ name }) => names.has(name)));
  }

  /** Ends what is left, within a bound. */
  async close(): Promise<void> {
    if (this.#ending) await withDeadline(CLOSE_MS, this.#ending);
    this.#closed = true;
    this.#endPause?.();
    if (this.#opened) await endInstance(this.#opened, 0);
    await this.#ending;
  }

  /** A pause that does not keep the process alive, and that `close` ends. */
  #pause(delay: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = startTimer(delay, () => this.#endPause?.(), false);
      this.#endPause = () => {
        timer.stop();
        this.#endPause = undefined;
        resolve();
      };
    });
  }

  async #endAll(): Promise<void> {
    for (let delay = PAUSE_FIRST_MS; this.#left.size > 0 && !this.#closed; delay = Math.min(delay * 2, PAUSE_LAST_MS)) {
      const opened = this.#opened = this.#source.open({ max: 1, prepare: false }, () => {});
      try {
        for (const [pid, given] of [...this.#left]) await this.#end(opened, pid, given);
      } catch {
        await this.#pause(delay); // the server cannot be reached now
      } finally {
        await endInstance(opened, 0);
        this.#opened = undefined;
      }
    }
  }

  async #end({ sql }: Opened, pid: string, given: GivenUp): Promise<void> {
    const { statement } = given;
    for (let delay = PAUSE_FIRST_MS; !this.#closed; delay = Math.min(delay * 2, PAUSE_LAST_MS)) {
      if (statement?.over) break;
      if (statement?.query.active !== false) {
        const text = statement ? CANCEL : TERMINATE;
        const asked = sql.unsafe(text, [pid], { prepare: false, simple: false });
        if ((await inTime(asked, ANSWER_TIMEOUT, () => {})).length === 0) break; // it is gone
      }
      await this.#pause(delay);
    }
    if (this.#left.get(pid) === given) this.#left.delete(pid);
  }
}
