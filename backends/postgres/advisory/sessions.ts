import type { SessionHandle } from "../../../core/backend.ts";
import { UnsupportedError } from "../../../core/errors.ts";
import { once, usable } from "../../../core/util/once.ts";
import { KeyedMutex } from "../../sessions/keyed_mutex.ts";
import type { Source } from "../connection/driver.ts";
import { requireSessions } from "../connection/server.ts";
import { isNotPrimary, translate } from "../errors.ts";
import { READ_ONLY } from "../rows/fragments.ts";
import { openSession, type PostgresSession } from "../session/session.ts";
import { type AdvisoryKey, keyArguments, keyParameters } from "./key.ts";

/** Seconds of silence after which the server ends the session. */
const SESSION_TIMEOUT = 15;

/** An acquired advisory lock. */
export interface Acquired {
  /** Releases it; returns whether it was still held. */
  readonly release: () => Promise<boolean>;
  /** The session that carries it; a transaction lock has none. */
  readonly session?: SessionHandle;
}

/** One lock of this process: the server has granted it once, however many holders share it here. */
interface Held {
  readonly id: string;
  readonly shared: boolean;
  readonly session: PostgresSession;
  /** Calls a function of the server on the key. */
  readonly call: (session: PostgresSession, name: string) => Promise<boolean>;
  holders: number;
}

/**
 * The session that carries the advisory locks of one client. The server would grant a lock twice to the same session:
 * exclusion between tasks of this process is decided here.
 */
export class AdvisorySessions {
  readonly #source: Source;
  readonly #lasting: boolean;
  readonly #held = new Map<string, Held>();
  readonly #mutex = new KeyedMutex();
  /** Opens the session when it is first needed, and again after it ended. */
  readonly #session = once(() => this.#open());
  #users = 0;
  #hadPrimary = false;

  /** @param lasting Whether `close` will be called: by a backend, but not by a `sql` instance. */
  constructor(source: Source, lasting: boolean) {
    this.#source = source;
    this.#lasting = lasting;
  }

  /** Tries once; returns `undefined` when the lock is held. `prefix` is put before each statement. */
  acquire(key: AdvisoryKey, shared: boolean, prefix: string): Promise<Acquired | undefined> {
    const id = keyParameters(key).join();
    const call = async (session: PostgresSession, name: string) => {
      const text = `${prefix}SELECT ${name}${shared ? "_shared" : ""}(${
        keyArguments(key)
      })::text AS done, ${READ_ONLY}`;
      try {
        const [row] = await session.send(text, keyParameters(key), prefix === "");
        return row.done === "true";
      } catch (error) {
        await session.close(); // it may hold the lock or not
        throw error;
      }
    };
    return this.#mutex.run(id, async () => {
      const present = this.#held.get(id);
      const held = present?.session.ended === undefined ? present : undefined;
      if (held && !(held.shared && shared)) return undefined;
      const entry = held ??
        { id, shared, session: await usable(this.#session, ({ ended }) => ended === undefined), call, holders: 0 };
      if (held === undefined) {
        if (!await call(entry.session, "pg_try_advisory_lock")) return undefined;
        this.#held.set(id, entry);
      }
      entry.holders++;
      return { session: entry.session, release: () => this.#release(entry) };
    });
  }

  /** Releases a lock at the server when its last holder in this process releases it. */
  async #release(held: Held): Promise<boolean> {
    const { id, session } = held;
    try {
      return await this.#mutex.run(id, async () => {
        if (session.ended) return false;
        if (--held.holders > 0) return true;
        this.#held.delete(id);
        return await held.call(session, "pg_advisory_unlock");
      });
    } catch (error) {
      if (isNotPrimary(error)) return false; // a lock of a server that takes no writes grants nothing
      throw translate(`release advisory lock ${id}`, error);
    } finally {
      await this.leave();
    }
  }

  async #open(): Promise<PostgresSession> {
    const session = await openSession(this.#source, SESSION_TIMEOUT);
    try {
      // once there was a primary, a replica is a passing error: the address may lead to another server soon
      const readOnly = this.#hadPrimary ? `, ${READ_ONLY}` : "";
      const [row] = await session.send(
        `SELECT version() AS version, pg_is_in_recovery()::text AS replica${readOnly}`,
        [],
      );
      const server = { table: "", version: row.version!, replica: row.replica === "true", direct: session.direct };
      await requireSessions("advisory locks", server, this.#source);
      this.#hadPrimary = true;
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Keeps the session open for a lock that is held or wanted. */
  enter(): void {
    this.#users++;
  }

  /** The opposite of `enter`. A session that no `close` would end is closed with its last lock. */
  async leave(): Promise<void> {
    if (--this.#users === 0 && !this.#lasting) await this.close();
  }

  /** Ends the session, and with it the locks. */
  async close(): Promise<void> {
    const current = this.#session.current;
    this.#session.clear();
    await current?.then((session) => session.close(), () => {});
  }
}

const sessionsOf = new WeakMap<object, AdvisorySessions>();

/** Where the connections of a backend come from. */
const sources = new WeakMap<object, Source>();

/** Marks backends whose source is known to the copy of this package that made them, and to no other. */
const REGISTERED = Symbol.for("@lockmgr/lockmgr/connections");

/** Says where connections for a backend's advisory locks come from. */
export function registerSource(backend: object, source: Source): void {
  sources.set(backend, source);
  Object.defineProperty(backend, REGISTERED, { value: true });
}

/** Returns the advisory sessions of a backend, or with a source those of a `sql` instance. */
export function advisorySessions(client: object, given?: Source): AdvisorySessions {
  const source = given ?? sources.get(client);
  if (source === undefined && REGISTERED in client) {
    throw new TypeError(
      "Cannot use advisory locks of this backend: another copy of lockmgr made it; import advisoryLock and the backend " +
        "from the same copy",
    );
  }
  if (source === undefined) {
    throw new UnsupportedError("Cannot use advisory locks through a function: want a URL or a postgres.js instance");
  }
  let sessions = sessionsOf.get(client);
  if (sessions === undefined) sessionsOf.set(client, sessions = new AdvisorySessions(source, given === undefined));
  return sessions;
}

/** Ends the advisory locks of a backend, if it has any. */
export async function closeAdvisorySessions(backend: object): Promise<void> {
  await sessionsOf.get(backend)?.close();
}
