import { BackendError } from "../../../core/errors.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { Unanswered } from "../../../core/util/in_progress.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import { isBroken, isEndedByServer, isNotPrimary } from "../errors.ts";
import { type About, answerWithin } from "./client.ts";
import { endInstance, isQueued, type Opened, programName, type Query, sendStatement, type Source } from "./driver.ts";

/**
 * How long a statement waits for the end of an earlier one that was given up, and a disposal for all of them: longer if
 * the server answers, which may be far away or busy (ms).
 */
const SETTLE_MS = 2_000;
const CLOSE_MS = 400;
const CLOSE_ANSWERING_MS = 1_000;
/** How many connections that the server has ended are remembered. */
const MAX_ENDED = 100;
/** Seconds to wait for an answer here. */
const ANSWER_TIMEOUT = 5;
/** Pauses between looks whether a connection is gone, and before the server is asked again. */
const PAUSES = { first: 5, longest: 500 };

/** The length up to which a statement is compared with what a connection runs: the server shows 100 bytes at least. */
const COMPARED = 90;

/**
 * Ends a connection of this role and program, or cancels its statement while it runs this one; no row when it is gone.
 * The server ends a transaction before it takes the connection off this list, also one that waits for a synchronous
 * standby: that one is committed then.
 * `(pid, name of this program where the caller's connections have another, beginning of the statement)`
 */
function signal(how: "pg_terminate_backend" | "pg_cancel_backend"): string {
  const isRunning = `$3::text = '' OR (a.state = 'active' AND left(a.query, ${COMPARED}) = $3::text)`;
  return `
  SELECT CASE WHEN ${isRunning} THEN ${how}(a.pid) END::text AS sent FROM pg_stat_activity AS a
  WHERE a.pid = $1::text::integer AND a.pid <> pg_backend_pid() AND a.usename = session_user
    AND a.application_name IN (current_setting('application_name'), $2::text)`;
}

/** A source of connections that may be given up. */
export interface GuardedSource extends Source {
  /** Ends them at the server; only where the source belongs to one backend. */
  abandoned?: AbandonedConnections;
}

/** What was given up on one connection. */
interface GivenUp {
  readonly about: About;
  /** The place of its host among those of the source. */
  readonly host?: number;
  /** The statement, where the connection is the caller's and stays. */
  readonly statement?: { readonly query: Query; readonly text: string; settled: boolean };
}

/**
 * Connections that this process has given up, by the server's process ids. The server may still run what was sent on
 * them, behind a lock of the table or while it waits for a standby: each is ended there, from another connection, so
 * nothing takes effect after its caller was told something else.
 */
export class AbandonedConnections {
  readonly #source: Source;
  readonly #left = new Map<string, GivenUp>();
  readonly #ended = new Set<string>();
  readonly #closing = new AbortController();
  #ending: Promise<void> | undefined;
  #opened: Opened | undefined;
  /** Whether the server has answered since the last ending began. */
  #answers = false;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Whether anything is left. */
  get any(): boolean {
    return this.#left.size > 0;
  }

  /**
   * Makes sure that a statement without an answer does not take effect later.
   *
   * @param error Why there is none.
   * @param query The statement and its text, where its connection is the caller's and stays.
   */
  giveUp(pid: string, about: About, error: unknown, query?: Query, text = ""): void {
    if (isNotPrimary(error)) return; // it was answered
    const late = error instanceof Unanswered;
    if (isEndedByServer(error)) this.#noteEnded(pid);
    else if (late && query) this.#cancel(pid, about, query, text);
    else if (late || isBroken(error)) this.add(pid, about);
  }

  /** Notes that the server has ended a connection. */
  #noteEnded(pid: string): void {
    if (this.#ended.size === MAX_ENDED) this.#ended.clear();
    this.#ended.add(pid);
  }

  /** Ends a connection at the server. */
  add(pid: string, about: About): void {
    if (!this.#ended.has(pid)) this.#add(pid, { about: [...this.#left.get(pid)?.about ?? [], ...about] });
  }

  /** Cancels a statement on a connection that stays. */
  #cancel(pid: string, about: About, query: Query, text: string): void {
    const statement = { query, text: text.slice(0, COMPARED), settled: false };
    const settle = () => void (statement.settled = true);
    query.then(settle, settle);
    this.#add(pid, { about, statement });
  }

  #add(pid: string, given: GivenUp): void {
    if (this.#closing.signal.aborted) return;
    this.#left.set(pid, { ...given, host: this.#source.hosts.index });
    this.#start();
  }

  #start(): void {
    if (this.#left.size === 0 || this.#closing.signal.aborted) return;
    this.#ending ??= this.#endAll().finally(() => {
      this.#ending = undefined;
      this.#start();
    });
  }

  /**
   * Waits until nothing that was given up can take effect on these names.
   *
   * @param about The names; without them everything is waited for.
   * @throws {BackendError} When the server does not confirm that in time.
   */
  async settled(about?: About): Promise<void> {
    const until = monotonic() + SETTLE_MS;
    while (this.#concerns(about)) {
      const left = until - monotonic();
      if (left <= 0 || !this.#ending) { // without an ending the backend was closed
        const what = about ? `change ${namesOf(about)}` : "acquire a lock";
        throw new BackendError(`Cannot ${what}: an earlier statement was given up and may still take effect`, {
          retryable: true,
        });
      }
      await withDeadline(Math.min(left, PAUSES.longest), this.#ending);
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
    if (this.#ending && this.#answers) await withDeadline(CLOSE_ANSWERING_MS, this.#ending);
    this.#closing.abort();
    if (this.#opened) await endInstance(this.#opened, 0);
    await this.#ending;
  }

  /** Waits without keeping the process alive; `close` ends the wait. */
  async #pause(delay: number): Promise<void> {
    await sleep(delay, this.#closing.signal, false).catch(() => {});
  }

  async #endAll(): Promise<void> {
    const pauses = new Backoff(PAUSES);
    while (this.#left.size > 0 && !this.#closing.signal.aborted) {
      const opened = this.#opened = this.#source.open({ max: 1, prepare: false }, () => {});
      this.#answers = false;
      try {
        for (const [pid, given] of [...this.#left]) await this.#end(opened, pid, given);
      } catch {
        await this.#pause(pauses.next()); // the server cannot be reached now
      } finally {
        await endInstance(opened, 0);
        this.#opened = undefined;
      }
    }
  }

  async #end({ sql }: Opened, pid: string, given: GivenUp): Promise<void> {
    const { statement } = given;
    const text = signal(statement ? "pg_cancel_backend" : "pg_terminate_backend");
    const pauses = new Backoff(PAUSES);
    // on another server the number is another connection's, and nothing of the old one takes effect
    while (!this.#closing.signal.aborted && !statement?.settled && given.host === this.#source.hosts.index) {
      if (statement === undefined || !isQueued(statement.query)) {
        const rows = await answerWithin(
          ANSWER_TIMEOUT,
          sendStatement(sql, text, [pid, programName(), statement?.text ?? ""], false),
        );
        this.#answers = true;
        if (rows.length === 0) break; // it is gone
      }
      await this.#pause(pauses.next());
    }
    if (this.#left.get(pid) === given) this.#left.delete(pid);
  }
}
