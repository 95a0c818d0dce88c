import type { AcquireAnswer, AcquireRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { areAlike, BUSY, namesOf } from "../../../core/util/requests.ts";
import type { Liveness } from "../../sessions/liveness.ts";
import { isPlain } from "../../shared/line.ts";
import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import { acquireAnswers, acquireParameters, alikeParameters, allAcquired, toLockRow } from "./rows.ts";

/** How often a name is tried that is neither acquired nor seen held, because it changes hands meanwhile. */
const MAX_ATTEMPTS = 10;
/** How many new sessions are tried that the server of the rows does not have. */
const MAX_SESSIONS = 4;
/** For how many names it is remembered how they were seen last. */
const MAX_HINTS = 4_096;

/** Acquires names by their rows. */
export class Acquirer {
  readonly #table: LockTable;
  readonly #queue: Queue;
  /**
   * How names were seen last. To read the row of a held one first takes half the time of a failed attempt; those that
   * this process has released are acquired without a look. Where a queue was seen, the name is tried there at first.
   */
  readonly #hints = new LruMap<string, "held" | "released" | "queued">(MAX_HINTS);

  constructor(table: LockTable, queue: Queue) {
    this.#table = table;
    this.#queue = queue;
  }

  /** Notes that a name may be free by now. */
  noteFree(name: string): void {
    if (this.#hints.get(name) === "held") this.#hints.delete(name);
  }

  /** Notes that this process has released a name. */
  noteReleased(name: string): void {
    if (this.#hints.get(name) !== "queued") this.#hints.set(name, "released");
  }

  #note(name: string, hint: "held" | "queued" | undefined): void {
    if (hint) this.#hints.set(name, hint);
    else this.#hints.delete(name);
  }

  /** Acquires each name that is free. */
  async acquireEach(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const [first] = requests;
    if (requests.length < 2) return first ? [await this.#acquireOne(first)] : [];
    const liveness = this.#queue.livenessFor(first);
    const batch = requests.filter((each) => {
      return isPlain(each) && !each.repeated && this.#queue.livenessFor(each) === liveness;
    });
    // when a row is locked by another transaction, as guard does, the other names are acquired all the same
    const answers = batch.length < 2
      ? undefined
      : await this.#acquireReleased(batch, liveness) ?? await this.#acquire(batch, liveness);
    const answered = new Map(batch.map((request, index) => [request, answers?.[index]]));
    return await Promise.all(requests.map((request) => {
      const answer = answered.get(request);
      return answer && (answer.granted || !this.#isForQueue(request)) ? answer : this.#acquireOne(request);
    }));
  }

  /** Whether a request that was not granted at once is one for the queue. */
  #isForQueue({ name, window }: AcquireRequest): boolean {
    return window !== undefined || this.#hints.get(name) === "queued";
  }

  /** Acquires names that this process has released; returns `undefined` when not all of them are still free. */
  async #acquireReleased(
    requests: readonly AcquireRequest[],
    carrier: Liveness | undefined,
  ): Promise<AcquireAnswer[] | undefined> {
    if (!areAlike(requests) || !requests.every(({ name }) => this.#hints.get(name) === "released")) return undefined;
    const liveness = await carrier?.lock();
    const rows = await this.#table.attempt(requests, "acquireReleased", alikeParameters(requests, liveness));
    for (const { name } of requests) this.#hints.delete(name);
    return rows && allAcquired(rows[0], requests, liveness);
  }

  /** Acquires all names or none. */
  async acquireAll(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const liveness = this.#queue.livenessFor({ keep: requests.find(({ keep }) => keep)?.keep });
    return await this.#acquire(requests, liveness, true) ?? requests.map(() => BUSY);
  }

  async #acquireOne(request: AcquireRequest): Promise<AcquireAnswer> {
    const { name, owner, window } = request;
    const hint = this.#hints.get(name);
    const isWaiter = window !== undefined && (hint === "held" || this.#queue.has(owner));
    if (isWaiter || hint === "queued" || !isPlain(request)) return await this.#enqueue(request);
    if (hint === "held") {
      const what = () => `acquire ${namesOf([request])}`;
      const [row] = await this.#table.send(what, "selectHolder", [name, owner]);
      if (row?.queued === "true") return await this.#enqueue(request);
      if (row) return { granted: false, holder: toLockRow(row) };
      this.#hints.delete(name);
    }
    const answer = (await this.#acquire([request], this.#queue.livenessFor(request)))?.[0] ?? BUSY;
    return answer.granted || !this.#isForQueue(request) ? answer : await this.#enqueue(request);
  }

  async #enqueue(request: AcquireRequest): Promise<AcquireAnswer> {
    const answer = await this.#queue.acquire(request);
    const { waiters = 0, limit = 1 } = answer.granted ? answer.row : answer.holder ?? {};
    const queued = waiters > 0 || limit > 1 || (!answer.granted && answer.position !== undefined);
    this.#note(request.name, queued ? "queued" : answer.granted ? undefined : "held");
    return answer;
  }

  /** Tries until each name was acquired or seen held; returns `undefined` when a row stayed locked. */
  async #acquire(
    requests: readonly AcquireRequest[],
    carrier: Liveness | undefined,
    allOrNothing = false,
  ): Promise<AcquireAnswer[] | undefined> {
    const answers = new Map<string, AcquireAnswer>();
    let open = requests;
    let lostSessions = 0;
    for (let attempt = 0; open.length > 0 && attempt < MAX_ATTEMPTS; attempt++) {
      const liveness = await carrier?.lock();
      const statement = open.length === 1 ? "acquire" : allOrNothing ? "acquireAll" : "acquireEach";
      const rows = await this.#table.attempt(open, statement, acquireParameters(open, liveness));
      if (rows === undefined) return undefined;
      const found = acquireAnswers(rows, open, liveness);
      const queued = new Set(rows.filter((row) => row.queued === "true").map((row) => row.name!));
      for (const name of queued) {
        this.#hints.set(name, "queued");
        const request = open.find((each) => each.name === name)!;
        const busy = allOrNothing ? await this.#queue.busyAnswer(request) : BUSY;
        if (busy) found.set(name, busy); // otherwise its holders have expired
      }
      if (liveness && found.size === 0 && !await this.#queue.isAlive(open, liveness)) {
        if (lostSessions++ > 0) this.#table.discard(); // a new session and the rows are on different servers
        if (lostSessions > MAX_SESSIONS) throw lostSession(open);
        continue;
      }
      for (const [name, answer] of found) {
        answers.set(name, answer);
        if (!queued.has(name)) this.#note(name, answer.granted ? undefined : "held");
      }
      if (answers.size === requests.length || (allOrNothing && found.size > 0)) break;
      open = open.filter(({ name }) => !answers.has(name));
      if (liveness?.session.ended === undefined && attempt > 1) await this.#table.pause(attempt * Math.random());
    }
    return requests.map(({ name }) => answers.get(name) ?? BUSY);
  }
}

function lostSession(requests: readonly AcquireRequest[]): BackendError {
  const reason = "its session is on another server than the table";
  return new BackendError(`Cannot acquire ${namesOf(requests)}: ${reason}`, { retryable: true });
}
