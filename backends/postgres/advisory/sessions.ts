import { UnsupportedError } from "../../../core/errors.ts";
import type { Source } from "../connection/driver.ts";
import { READ_ONLY } from "../rows/fragments.ts";
import { requireSessions } from "../connection/pooler.ts";
import { openSession, type PostgresSession } from "../session/session.ts";

/** Seconds of silence after which the server ends the session. */
const TIMEOUT = 15;

/** One advisory lock as this process holds it: the server knows it once, however many share it here. */
export interface AdvisoryEntry {
  readonly shared: boolean;
  readonly session: PostgresSession;
  holders: number;
}

/**
 * The session that advisory locks of one source ride on, and which they are: the server would let the same session
 * take a lock twice, so that tasks of one process are kept apart here.
 */
export class AdvisorySessions {
  readonly #source: Source;
  readonly #lasting: boolean;
  readonly #entries = new Map<string, AdvisoryEntry>();
  readonly #turns = new Map<string, Promise<unknown>>();
  #current: Promise<PostgresSession> | undefined;
  #users = 0;
  #hadPrimary = false;

  /** @param lasting Whether somebody will close the session: a backend does, a `sql` instance cannot. */
  constructor(source: Source, lasting: boolean) {
    this.#source = source;
    this.#lasting = lasting;
  }

  /** The lock of this key that this process holds. */
  find(key: string): AdvisoryEntry | undefined {
    const entry = this.#entries.get(key);
    if (entry?.session.ended === undefined) return entry;
    this.#entries.delete(key);
    return undefined;
  }

  /** Remembers what was taken. */
  add(key: string, entry: AdvisoryEntry): void {
    this.#entries.set(key, entry);
  }

  /** Forgets what was released. */
  remove(key: string): void {
    this.#entries.delete(key);
  }

  /** One statement at a time for each key. */
  async alone<T>(key: string, work: () => Promise<T>): Promise<T> {
    while (this.#turns.has(key)) await this.#turns.get(key);
    const running = work();
    this.#turns.set(key, running.catch(() => {}).then(() => this.#turns.delete(key)));
    return await running;
  }

  /** The session, opened when it is first wanted and again after it ended. */
  async session(): Promise<PostgresSession> {
    const opening = this.#current ??= this.#open();
    try {
      const session = await opening;
      if (session.ended === undefined) return session;
    } catch (error) {
      if (this.#current === opening) this.#current = undefined;
      throw error;
    }
    if (this.#current === opening) this.#current = undefined;
    return await this.session();
  }

  async #open(): Promise<PostgresSession> {
    const session = await openSession(this.#source, TIMEOUT);
    try {
      // where the primary was, a replica is not refused for good: the address may lead to another server soon
      const readOnly = this.#hadPrimary ? `, ${READ_ONLY}` : "";
      const question = `SELECT version() AS version, pg_is_in_recovery()::text AS replica${readOnly}`;
      const [row] = await session.send(question, []);
      const server = { table: "", version: row.version!, replica: row.replica === "true", direct: session.direct };
      await requireSessions("advisory locks", server, this.#source);
      this.#hadPrimary = true;
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Somebody holds or wants a lock: the session stays. */
  enter(): void {
    this.#users++;
  }

  /** The opposite of `enter`. A session that nobody would close goes with its last lock. */
  async leave(): Promise<void> {
    if (--this.#users === 0 && !this.#lasting) await this.close();
  }

  /** Ends the session, and with it the locks. */
  async close(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.then((session) => session.close(), () => {});
  }
}

const sessionsOf = new WeakMap<object, AdvisorySessions>();

/** Where the connections of a backend or a `sql` instance come from. */
const sources = new WeakMap<object, Source>();

/** Marks backends whose connections are known to the copy of this package that made them, and to no other. */
const KNOWN = Symbol.for("@lockmgr/lockmgr/connections");

/** Says where connections for a backend's advisory locks come from. */
export function registerSource(owner: object, source: Source): void {
  sources.set(owner, source);
  Object.defineProperty(owner, KNOWN, { value: true });
}

/** The advisory locks of a backend; made when they are first wanted. */
export function advisorySessions(owner: object, given?: Source): AdvisorySessions {
  const source = given ?? sources.get(owner);
  if (source === undefined && KNOWN in owner) {
    throw new TypeError(
      "Cannot use advisory locks of this backend: another copy of lockmgr made it; import advisoryLock and the backend " +
        "from the same copy",
    );
  }
  if (source === undefined) {
    throw new UnsupportedError("Cannot use advisory locks through a function: want a URL or a postgres.js instance");
  }
  let sessions = sessionsOf.get(owner);
  if (sessions === undefined) sessionsOf.set(owner, sessions = new AdvisorySessions(source, given === undefined));
  return sessions;
}

/** Ends the advisory locks of a backend, if it has any. */
export async function closeAdvisorySessions(owner: object): Promise<void> {
  await sessionsOf.get(owner)?.close();
}
