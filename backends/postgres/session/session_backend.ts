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
} from "../../../core/backend.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { UnsupportedError } from "../../../core/errors.ts";
import { BUSY } from "../rows/rows.ts";
import { registrationForSessions } from "../wakeup/registration.ts";
import { closeAdvisorySessions } from "../advisory/sessions.ts";
import type { Client } from "../connection/client.ts";
import type { Source } from "../connection/driver.ts";
import { codeOf, isMissing, translate } from "../errors.ts";
import { diagnose } from "../diagnose.ts";
import { HeldLocks, rowOf } from "./held_locks.ts";
import { toLockRow } from "../rows/rows.ts";
import { namespaceOf } from "../schema.ts";
import type { Session } from "./session.ts";
import { SessionKeys } from "./session_keys.ts";
import { SessionLocks } from "./session_locks.ts";
import { Sessions } from "./session_pool.ts";
import { type SessionStatements, sessionStatementsFor } from "./session_statements.ts";
import { pauseOf, Waiters } from "../wakeup/waiters.ts";
import { lockActivity } from "../rows/lock_activity.ts";

/** What a session backend is made of. */
export interface SessionParts {
  /** For questions about others' locks. */
  readonly client: Client;
  /** Where sessions come from. */
  readonly source: Source;
  /** The table, which names the sequence and the keys. */
  readonly table: string;
  /** Seconds of silence after which the server ends a session. */
  readonly timeout: number;
  /** Makes sure of the sequence again, after it was dropped. */
  readonly restore: () => Promise<void>;
}

/** Locks that the server ties to a connection of ours: many on each, and what must not meet there kept apart here. */
export class SessionBackend implements Backend {
  readonly engine = "postgres";
  readonly mode = "session";
  readonly #parts: SessionParts;
  readonly #sql: SessionStatements;
  readonly #waiters: Waiters;
  readonly #sessions: Sessions;
  readonly #held = new HeldLocks();
  readonly #locks: SessionLocks;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    const { source, timeout, table } = parts;
    const namespace = namespaceOf(table);
    const [sql, keys] = [sessionStatementsFor(table), new SessionKeys(namespace)];
    this.#sql = sql;
    this.#sessions = new Sessions(source, timeout, (session) => this.#advance(session));
    // whether a key is free can only be told by taking it, which is the waiter's own next try
    const look = (names: readonly string[]) => Promise.resolve({ free: names, again: pauseOf(true) });
    this.#waiters = new Waiters(source, timeout, registrationForSessions(namespace), look);
    this.#locks = new SessionLocks({ sql, keys, sessions: this.#sessions, held: this.#held });
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    if (requests.some(({ shared }) => shared)) {
      throw new UnsupportedError(
        'Cannot share locks in "session" mode: use advisoryLock of "@lockmgr/lockmgr/postgres", which keeps shared locks',
      );
    }
    await this.#settle(requests);
    try {
      return await this.#take(requests, allOrNothing);
    } catch (error) {
      if (!isMissing((error as Error).cause)) throw error;
      await this.#parts.restore(); // the sequence was dropped
      return await this.#take(requests, allOrNothing);
    }
  }

  async #take(requests: readonly AcquireRequest[], allOrNothing: boolean): Promise<AcquireAnswer[]> {
    if (!allOrNothing) return await this.#locks.take(requests);
    const before = new Set(requests.filter(({ name, owner }) => this.#held.find(name)?.owner === owner));
    const answers: AcquireAnswer[] = [];
    for (const request of requests) {
      const [answer] = await this.#locks.take([request]);
      answers.push(answer);
      if (!answer.granted) break;
    }
    if (answers.every(({ granted }) => granted)) return answers;
    await this.release(requests.filter((request, index) => answers[index]?.granted && !before.has(request)));
    return requests.map((_request, index) => answers[index]?.granted === false ? answers[index] : BUSY);
  }

  /** A role that may draw tokens and not bring them forward goes on without: `doctor` tells of it. */
  async #advance(session: Session): Promise<void> {
    await session.send(this.#sql.advance).catch((error) => {
      if (codeOf(error) !== "42501") throw error;
    });
  }

  /** A session that was given up holds its locks until the server ends it: they must not be taken for another holder's. */
  async #settle(requests: readonly AcquireRequest[]): Promise<void> {
    const { abandoned } = this.#parts.source;
    if (!abandoned?.any) return;
    try {
      await abandoned.settled();
    } catch (error) {
      if (requests.some(({ repeated }) => repeated)) throw error;
    }
  }

  renew(_requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return Promise.reject(
      new UnsupportedError('Cannot renew in "session" mode: it has no row; want "lease" or "hybrid"'),
    );
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    if (targets.some(({ owner }) => owner === null)) {
      throw new UnsupportedError('Cannot release by name in "session" mode: it has no row; want "lease" or "hybrid"');
    }
    return await this.#locks.free(targets);
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const own: LockRow[] = [];
    for (const name of names ?? this.#held.names) {
      const held = name.startsWith(prefix) ? this.#held.find(name) : undefined;
      if (held) own.push(rowOf(held));
    }
    const others = names ? await this.#others(names.filter((name) => !own.some((row) => row.name === name))) : [];
    return [...own, ...others].sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  }

  /** What other sessions hold of these names: who they are only the server knows. */
  async #others(names: readonly string[]): Promise<LockRow[]> {
    if (names.length === 0) return [];
    try {
      return (await this.#parts.client.send(this.#sql.holders, [JSON.stringify(names)])).map(toLockRow);
    } catch (error) {
      throw translate("list locks", error);
    }
  }

  /** Session locks do not expire. */
  clean(scope: "expired" | "all"): Promise<number> {
    if (scope === "expired") return Promise.resolve(0);
    return Promise.reject(new UnsupportedError('Cannot remove every lock in "session" mode: want "lease" or "hybrid"'));
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    return await this.#waiters.add(name, wake);
  }

  async verify({ name, owner }: OwnedLock): Promise<boolean> {
    const held = this.#held.find(name);
    if (held?.owner !== owner) return false;
    try {
      const [row] = await held.session.send(this.#sql.verify, [held.key]);
      return row.held === "true";
    } catch (error) {
      if (held.session.ended) return false;
      throw translate(`verify lock ${JSON.stringify(name)}`, error);
    }
  }

  observe(names: readonly string[]): Promise<LockActivity[]> {
    return lockActivity(this.#parts.client, this.#parts.table, "session", names);
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#parts.client, this.#parts.table);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      await closeAdvisorySessions(this);
      await this.#sessions.close();
      await this.#waiters.close(); // those who wait try once more, and hear that it is over
      await this.#parts.client.close();
      await this.#parts.source.abandoned?.close();
    });
  }
}
