import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Claim,
  Finding,
  ListFilter,
  LockRow,
  RenewRequest,
  Target,
} from "../../core/backend.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { monotonic } from "../../core/runtime.ts";
import { closeAdvisorySessions } from "./advisory_sessions.ts";
import type { Client } from "./client.ts";
import type { Source } from "./driver.ts";
import { translate } from "./errors.ts";
import { examine } from "./examine.ts";
import { type Row, toLockRow } from "./rows.ts";
import { namespaceOf } from "./schema.ts";
import { Queueing } from "./queueing.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import { type SessionStatements, sessionStatementsFor } from "./session_statements.ts";
import { pauseOf, Watching } from "./watching.ts";

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
  /** Whether those who wait block in the server. */
  readonly blocking: boolean;
}

/** One lock of this process: the server knows it once, however many share it here. */
interface Held {
  readonly name: string;
  readonly shared: boolean;
  readonly session: Session;
  /** Who has it, by owner. */
  readonly holders: Map<string, { readonly row: LockRow; readonly since: number }>;
}

/** Locks that the server ties to a connection of ours: many on each, and what must not meet there kept apart here. */
export class SessionBackend implements Backend {
  readonly engine = "postgres";
  readonly mode = "session";
  readonly sharing = true;
  readonly #parts: SessionParts;
  readonly #sql: SessionStatements;
  readonly #watching: Watching | Queueing;
  readonly #queueing: Queueing | undefined;
  readonly #held = new Map<string, Held>();
  /** Names that a statement is under way for, and when it is over. */
  readonly #busy = new Map<string, Promise<unknown>>();
  readonly #sessions: Sessions;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    const namespace = namespaceOf(parts.table);
    this.#sql = sessionStatementsFor(parts.table);
    this.#sessions = new Sessions(parts.source, parts.timeout);
    // whether a key is free can only be told by taking it, which is the waiter's own next try
    const look = (names: readonly string[]) => Promise.resolve({ free: names, again: pauseOf(true) });
    if (parts.blocking) this.#queueing = new Queueing(parts.source, parts.timeout, parts.client, this.#sql);
    this.#watching = this.#queueing ?? new Watching(parts.source, parts.timeout, namespace, look);
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    const ask = (request: AcquireRequest) => this.#alone(request.name, () => this.#acquireOne(request));
    if (!allOrNothing) return await Promise.all(requests.map(ask));
    const answers: AcquireAnswer[] = [];
    for (const request of requests) {
      const answer = await ask(request);
      answers.push(answer);
      if (!answer.granted) break;
    }
    if (answers.every(({ granted }) => granted)) return answers;
    await this.release(requests.filter((_request, index) => answers[index]?.granted));
    return requests.map((_request, index) => answers[index]?.granted === false ? answers[index] : BUSY);
  }

  /** One statement at a time for each name: the server would grant a second one on the same connection. */
  async #alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    while (this.#busy.has(name)) await this.#busy.get(name);
    const running = work();
    const settled = running.catch(() => {}).then(() => this.#busy.delete(name));
    this.#busy.set(name, settled);
    return await running;
  }

  async #acquireOne(request: AcquireRequest): Promise<AcquireAnswer> {
    const what = `acquire lock ${JSON.stringify(request.name)}`;
    const held = this.#find(request.name);
    if (held) return await this.#join(what, held, request);
    const queued = this.#queueing?.take(request.name);
    if (queued === "waiting") return BUSY;
    if (queued) return await this.#takeOver(what, queued, request);
    const session = await this.#sessions.withRoom(what);
    const text = request.shared ? this.#sql.acquireShared : this.#sql.acquire;
    let granted = false;
    try {
      const [row] = await session.send(text, [request.name]);
      if (row.token === null) return BUSY;
      if (session.ended) throw session.ended;
      const grant: Held = { name: request.name, shared: request.shared, session, holders: new Map() };
      const answer = this.#admit(grant, request, row);
      this.#held.set(request.name, grant);
      granted = true;
      return answer;
    } catch (error) {
      await this.#undo(session, request);
      throw translate(what, error);
    } finally {
      if (!granted) this.#sessions.makeRoom(session);
    }
  }

  /** A lock that was waited for in the server's queue: this answer also says that its session is still there. */
  async #takeOver(what: string, session: Session, request: AcquireRequest): Promise<AcquireAnswer> {
    try {
      const [row] = request.shared
        ? await session.send(this.#sql.share, [request.name])
        : await session.send(this.#sql.token);
      const held: Held = { name: request.name, shared: request.shared, session, holders: new Map() };
      const answer = this.#admit(held, request, row);
      this.#held.set(request.name, held);
      return answer;
    } catch (error) {
      await session.close();
      throw translate(what, error);
    }
  }

  /** A lock of this process: its own again after a lost answer, shared, or busy. */
  async #join(what: string, held: Held, request: AcquireRequest): Promise<AcquireAnswer> {
    const own = held.holders.get(request.owner);
    if (own) return { granted: true, row: own.row, lifeline: held.session };
    if (!held.shared || !request.shared) {
      const [{ row, since }] = held.holders.values();
      return { granted: false, holder: { ...row, now: row.now + (monotonic() - since) * 1e3 } };
    }
    try {
      const [row] = await held.session.send(this.#sql.token);
      return this.#admit(held, request, row);
    } catch (error) {
      throw translate(what, error);
    }
  }

  #admit(held: Held, request: AcquireRequest, answer: Row): AcquireAnswer {
    const now = Number(answer.now);
    const row: LockRow = {
      name: request.name,
      token: BigInt(answer.token!),
      lockedBy: request.lockedBy,
      lockProcess: request.lockProcess,
      lockedUntil: null,
      createdAt: now,
      updatedAt: now,
      metadata: null,
      now,
      session: held.session.pid,
    };
    held.holders.set(request.owner, { row, since: monotonic() });
    return { granted: true, row, lifeline: held.session };
  }

  /** An error does not mean that the lock was not granted: it is given back, or the session with it. */
  async #undo(session: Session, { name, shared }: AcquireRequest): Promise<void> {
    if (session.ended) return;
    try {
      await session.send(shared ? this.#sql.releaseShared : this.#sql.release, [name]);
    } catch {
      await session.close();
    }
  }

  /** A lock of this process that is still there. */
  #find(name: string): Held | undefined {
    const held = this.#held.get(name);
    if (held?.session.ended === undefined) return held;
    this.#held.delete(name);
    return undefined;
  }

  renew(_requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return Promise.reject(
      new UnsupportedError('Cannot renew in "session" mode: it has no row; want "lease" or "hybrid"'),
    );
  }

  async release(targets: readonly Target[]): Promise<boolean[]> {
    return await Promise.all(targets.map((target) => this.#alone(target.name, () => this.#releaseOne(target))));
  }

  async #releaseOne({ name, owner }: Target): Promise<boolean> {
    if (owner === null) {
      throw new UnsupportedError('Cannot release by name in "session" mode: it has no row; want "lease" or "hybrid"');
    }
    const held = this.#find(name);
    if (!held?.holders.has(owner)) return false;
    if (held.holders.size > 1) return held.holders.delete(owner);
    try {
      const [row] = await held.session.send(held.shared ? this.#sql.releaseShared : this.#sql.release, [name]);
      return row.freed === "true";
    } catch (error) {
      if (held.session.ended) return false; // it went with the session
      await held.session.close(); // nobody can say what it still holds
      throw translate(`release lock ${JSON.stringify(name)}`, error);
    } finally {
      this.#held.delete(name);
      this.#sessions.makeRoom(held.session);
      this.#queueing?.putBack(held.session);
    }
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const own: LockRow[] = [];
    for (const name of names ?? [...this.#held.keys()]) {
      const held = name.startsWith(prefix) ? this.#find(name) : undefined;
      for (const { row, since } of held?.holders.values() ?? []) {
        own.push({ ...row, now: row.now + (monotonic() - since) * 1e3 });
      }
    }
    const others = names ? await this.#others(names.filter((name) => !own.some((row) => row.name === name))) : [];
    return [...own, ...others].sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : Number(a.token - b.token));
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

  clean(): Promise<number> {
    return Promise.resolve(0);
  }

  async watch(name: string, wake: () => void): Promise<Disposable> {
    return await this.#watching.add(name, wake);
  }

  async verify({ name, owner }: Claim): Promise<boolean> {
    const held = this.#find(name);
    if (!held?.holders.has(owner)) return false;
    try {
      const [row] = await held.session.send(this.#sql.verify, [name]);
      return row.held === "true";
    } catch (error) {
      if (held.session.ended) return false;
      throw translate(`verify lock ${JSON.stringify(name)}`, error);
    }
  }

  examine(): Promise<Finding[]> {
    return examine(this.#parts.client, this.#parts.table);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closeAdvisorySessions(this);
    await this.#sessions.close();
    await this.#watching.close(); // those who wait try once more, and hear that it is over
    await this.#parts.client.close();
  }
}

/** Held by another session. */
const BUSY: AcquireAnswer = { granted: false, holder: undefined };
