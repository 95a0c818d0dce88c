import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockActivity,
  LockRef,
  LockRow,
  OwnedLock,
  RenewRequest,
} from "../../core/backend.ts";
import { BackendError, UnsupportedError } from "../../core/errors.ts";
import { LruMap } from "../../core/util/lru_map.ts";
import { byCodePoint } from "../../core/util/order.ts";
import { BUSY, grantedRow, namesOf, settled } from "../../core/util/requests.ts";
import { monotonic } from "../../core/util/runtime.ts";
import { closeLocks } from "../../core/wait/close_locks.ts";
import { KeyedMutex } from "./keyed_mutex.ts";
import type { Session } from "./session.ts";
import type { SessionEngine } from "./session_engine.ts";

/** How many names' keys are remembered: without them 256 callers make 0.6 times as many pairs a second. */
const REMEMBERED_KEYS = 8_192;
/** How often a release is tried when its statement fails each time, as when it is killed. */
const RELEASE_TRIES = 5;

/** One lock of this process, and its row at the server's time `row.now`, which was `since` here (ms, monotonic). */
interface Held<S> {
  readonly name: string;
  readonly owner: string;
  readonly key: string;
  readonly session: S;
  readonly row: LockRow;
  readonly since: number;
}

/**
 * Locks that the server ties to a dedicated connection of ours. Each connection carries many, which are acquired and
 * released in batches: one statement for all on one session.
 */
export class SessionBackend<S extends Session> implements Backend {
  readonly engine: string;
  readonly mode = "session";
  readonly #engine: SessionEngine<S>;
  readonly #held = new Map<string, Held<S>>();
  readonly #keys = new LruMap<string, string>(REMEMBERED_KEYS);
  readonly #mutex = new KeyedMutex();

  constructor(engine: SessionEngine<S>) {
    this.engine = engine.name;
    this.#engine = engine;
  }

  acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    return allOrNothing ? this.#acquireAll(requests) : this.#acquireEach(requests);
  }

  async #acquireEach(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    // A session that was given up may hold its locks until the server has ended it. A request whose first answer was
    // lost must not mistake its own lock there for another holder's.
    const settled = this.#engine.settled();
    if (settled && !await settled && requests.some(({ repeated }) => repeated)) {
      const reason = "a session that was given up has not ended at the server yet";
      throw new BackendError(`Cannot acquire ${namesOf(requests)}: ${reason}`, { retryable: true });
    }
    return await this.#mutex.runEach(requests, (some) => this.#acquire(some));
  }

  async #acquireAll(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const before = requests.map((request) => this.#own(request) !== undefined);
    const answers = await this.#acquireEach(requests);
    if (answers.every(({ granted }) => granted)) return answers;
    await this.release(requests.filter((_, index) => answers[index].granted && !before[index]));
    return answers.map((answer) => answer.granted ? BUSY : answer);
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    if (targets.some(({ owner }) => owner === null)) {
      throw new UnsupportedError('Cannot release by name in "session" mode: it has no row; want "lease" or "hybrid"');
    }
    // the server says no token of others' locks: whether one of them is the acquisition to release is not known
    const others = targets.filter(({ name, owner }) => typeof owner === "bigint" && !this.#find(name));
    if (others.length > 0 && (await this.#engine.listOthers(others.map(({ name }) => name))).length > 0) {
      throw new UnsupportedError(
        `Cannot release ${namesOf(targets)} of another connection in "session" mode: want its holder to release it`,
      );
    }
    return await this.#mutex.runEach(targets, (some) => this.#release(some));
  }

  renew(_requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const message = 'Cannot renew in "session" mode: it has no row; want "lease" or "hybrid"';
    return Promise.reject(new UnsupportedError(message));
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    this.#engine.pool.requireOpen(() => "list locks");
    const wanted = new Set(names);
    const rows: LockRow[] = [];
    for (const name of this.#held.keys()) {
      const held = this.#find(name);
      if (held && name.startsWith(prefix) && (names === undefined || wanted.delete(name))) rows.push(rowOf(held));
    }
    if (wanted.size > 0) rows.push(...await this.#engine.listOthers([...wanted]));
    return rows.sort((one, other) => byCodePoint(one.name, other.name));
  }

  /** Session locks do not expire. */
  clean(scope: "expired" | "all"): Promise<number> {
    if (scope === "expired") return Promise.resolve(0);
    const message = 'Cannot remove every lock in "session" mode: want "lease" or "hybrid"';
    return Promise.reject(new UnsupportedError(message));
  }

  async verify(claim: OwnedLock): Promise<boolean> {
    const held = this.#own(claim);
    if (held === undefined) return false;
    try {
      return await this.#engine.verify(held.session, held.key);
    } catch (error) {
      if (held.session.ended) return false; // the server frees what a session held that has ended
      throw this.#engine.translate(`verify ${namesOf([claim])}`, error);
    }
  }

  watch(name: string, wake: () => void): Promise<Disposable> {
    return this.#engine.watch(name, wake);
  }

  observe(names: readonly string[]): Promise<LockActivity[]> {
    return this.#engine.observe(names);
  }

  diagnose(): Promise<Diagnostic[]> {
    return this.#engine.diagnose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      await Promise.all([this.#engine.pool.close(), this.#engine.close(this)]);
    });
  }

  async #acquire(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const known = requests.map((request) => this.#known(request));
    const wanted = requests.filter((_, index) => known[index] === undefined);
    if (wanted.length === 0) return known as AcquireAnswer[];
    const what = () => `acquire ${namesOf(wanted)}`;
    try {
      let first = 0;
      const parts = (await this.#engine.pool.reserve(wanted.length, what)).map(({ session, places }) =>
        this.#acquireOn(session, wanted.slice(first, first += places))
      );
      const answers = (await settled(parts).catch(async (error) => {
        await this.#release(wanted).catch(() => {}); // their callers do not learn what the other parts were granted
        throw error;
      })).flat().values();
      return known.map((answer) => answer ?? answers.next().value!);
    } catch (error) {
      throw this.#engine.translate(what(), error);
    }
  }

  /** Returns the answer that needs no statement: the owner already holds the lock, or another caller of this process does. */
  #known({ name, owner }: AcquireRequest): AcquireAnswer | undefined {
    const held = this.#find(name);
    if (held === undefined) return undefined;
    if (held.owner === owner) return { granted: true, row: held.row, session: held.session };
    return { granted: false, holder: rowOf(held) };
  }

  async #acquireOn(session: S, requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const keys = requests.map(({ name }) => this.#keyOf(name));
    let unused = requests.length;
    try {
      const { taken, token, now } = await this.#attempt(session, keys);
      const since = monotonic();
      return requests.map((request, index) => {
        if (!taken[index]) return BUSY;
        unused--;
        const { name, owner } = request;
        const row = grantedRow(request, token, now, session.id);
        this.#held.set(name, { name, owner, key: keys[index], session, row, since });
        return { granted: true, row, session };
      });
    } finally {
      this.#engine.pool.release(session, unused);
    }
  }

  /** Tries once. After an error the keys are released, or the session is ended: the server may have granted some. */
  async #attempt(session: S, keys: readonly string[]) {
    for (let repaired = false;; repaired = true) {
      try {
        return await this.#engine.acquire(session, keys);
      } catch (error) {
        await this.#free(session, keys).catch(() => {});
        if (repaired || !await this.#engine.repair?.(error)) throw error;
      }
    }
  }

  async #release(targets: readonly LockRef[]): Promise<boolean[]> {
    const own = targets.map((target) => this.#own(target));
    const released = new Set<Held<S>>();
    const bySession = Map.groupBy(own.filter((held) => held !== undefined), ({ session }) => session);
    await settled([...bySession].map(async ([session, some]) => {
      try {
        const freed = await this.#free(session, some.map(({ key }) => key));
        some.forEach((held, index) => freed[index] && released.add(held));
      } catch (error) {
        throw this.#engine.translate(`release ${namesOf(some)}`, error);
      } finally {
        for (const held of some) this.#forget(held);
      }
    }));
    return own.map((held) => held !== undefined && released.has(held));
  }

  /**
   * Releases keys on a session and returns which it held. A failed statement may have released some of them, so it is
   * repeated; when every try fails the session is ended, because it is unknown what it still holds.
   */
  async #free(session: S, keys: readonly string[]): Promise<readonly boolean[]> {
    for (let tries = 1; session.ended === undefined; tries++) {
      try {
        const freed = await this.#engine.release(session, keys);
        return tries === 1 ? freed : keys.map(() => true); // an earlier try has released the rest
      } catch (error) {
        if (tries < RELEASE_TRIES || session.ended) continue;
        session.end(error as Error);
        throw error;
      }
    }
    return keys.map(() => false); // the server has freed them with the session
  }

  #keyOf(name: string): string {
    let key = this.#keys.get(name);
    if (key === undefined) this.#keys.set(name, key = this.#engine.keyOf(name));
    return key;
  }

  /** Returns a lock of this process, if its session still lives. */
  #find(name: string): Held<S> | undefined {
    const held = this.#held.get(name);
    if (held?.session.ended === undefined) return held;
    this.#forget(held);
    return undefined;
  }

  /** Returns the lock of that name, if it is of this owner or has this token. */
  #own({ name, owner }: LockRef): Held<S> | undefined {
    const held = this.#find(name);
    return owner === (typeof owner === "bigint" ? held?.row.token : held?.owner) ? held : undefined;
  }

  #forget(held: Held<S>): void {
    if (this.#held.get(held.name) !== held) return;
    this.#held.delete(held.name);
    this.#engine.pool.release(held.session, 1);
  }
}

function rowOf({ row, since }: Held<unknown>): LockRow {
  return { ...row, now: row.now + (monotonic() - since) * 1e3 };
}
