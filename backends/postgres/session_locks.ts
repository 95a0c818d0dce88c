import type { AcquireAnswer, AcquireRequest, LockRow, Target } from "../../core/backend.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { monotonic } from "../../core/runtime.ts";
import { translate } from "./errors.ts";
import type { Queueing } from "./queueing.ts";
import type { Row } from "./rows.ts";
import type { Session } from "./session.ts";
import type { SessionStatements } from "./session_statements.ts";
import type { Sessions } from "./sessions.ts";
import { Underway } from "./underway.ts";
import { namesOf } from "./wishes.ts";

/** One lock of this process: the server knows it once, however many share it here. */
export interface Held {
  readonly name: string;
  readonly shared: boolean;
  readonly session: Session;
  /** Who has it, by owner. */
  readonly holders: Map<string, { readonly row: LockRow; readonly since: number }>;
}

/** Held by another session. */
export const BUSY: AcquireAnswer = { granted: false, holder: undefined };

/** What can be sent in one statement: requests for names whose session is the same. */
type Crowd<Request> = Map<Session, Request[]>;

/** The session locks of this process: taken and freed one by one, or hundreds in one statement. */
export class SessionLocks {
  readonly #sql: SessionStatements;
  readonly #sessions: Sessions;
  readonly #queueing: Queueing | undefined;
  readonly #held = new Map<string, Held>();
  readonly #underway = new Underway();

  constructor(sql: SessionStatements, sessions: Sessions, queueing: Queueing | undefined) {
    this.#sql = sql;
    this.#sessions = sessions;
    this.#queueing = queueing;
  }

  /** The names that are held. */
  get names(): string[] {
    return [...this.#held.keys()];
  }

  /** Takes each that is free. */
  async take(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const plain = new Set(requests.length > 1 ? this.#plain(requests) : []);
    const crowd = plain.size > 1
      ? this.#underway.mark([...plain].map(({ name }) => name), () => this.#takeCrowd([...plain]))
      : undefined;
    return await Promise.all(requests.map(async (request) => {
      if (crowd && plain.has(request)) return (await crowd).get(request.name)!;
      return await this.#underway.alone(request.name, () => this.#acquireOne(request));
    }));
  }

  /** Those that need nothing but a try: not shared, not held here, each name once. */
  #plain(requests: readonly AcquireRequest[]): AcquireRequest[] {
    const names = new Set<string>();
    return requests.filter(({ name, shared }) => {
      const plain = !shared && !names.has(name) && !this.#underway.has(name) && this.find(name) === undefined &&
        this.#queueing?.awaits(name) !== true;
      names.add(name);
      return plain;
    });
  }

  /** One statement for those on each session. */
  async #takeCrowd(requests: readonly AcquireRequest[]): Promise<Map<string, AcquireAnswer>> {
    const what = `acquire ${namesOf(requests)}`;
    const crowd: Crowd<AcquireRequest> = new Map();
    try {
      for (const request of requests) add(crowd, await this.#sessions.withRoom(what), request);
    } catch (error) {
      for (const [session, some] of crowd) for (const _ of some) this.#sessions.makeRoom(session);
      throw error;
    }
    const answers = await Promise.all([...crowd].map(([session, some]) => this.#takeOn(what, session, some)));
    return new Map(answers.flat());
  }

  async #takeOn(what: string, session: Session, requests: AcquireRequest[]): Promise<[string, AcquireAnswer][]> {
    const left = new Set(requests);
    try {
      const rows = await session.send(this.#sql.acquireEach, [JSON.stringify(requests.map(({ name }) => name))]);
      if (session.ended) throw session.ended;
      const tokens = new Map(rows.map((row) => [row.name!, row]));
      return requests.map((request) => {
        const row = tokens.get(request.name)!;
        if (row.token === null) return [request.name, BUSY];
        left.delete(request);
        return [request.name, this.#grant(session, request, row)];
      });
    } catch (error) {
      await this.#undo(session, this.#sql.releaseEach, JSON.stringify(requests.map(({ name }) => name)));
      throw translate(what, error);
    } finally {
      for (const _ of left) this.#sessions.makeRoom(session);
    }
  }

  async #acquireOne(request: AcquireRequest): Promise<AcquireAnswer> {
    const what = `acquire lock ${JSON.stringify(request.name)}`;
    const held = this.find(request.name);
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
      granted = true;
      return this.#grant(session, request, row);
    } catch (error) {
      await this.#undo(session, request.shared ? this.#sql.releaseShared : this.#sql.release, request.name);
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
      return this.#grant(session, request, row);
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

  #grant(session: Session, request: AcquireRequest, answer: Row): AcquireAnswer {
    const { name, shared } = request;
    const held: Held = { name, shared, session, holders: new Map() };
    this.#held.set(name, held);
    return this.#admit(held, request, answer);
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
  async #undo(session: Session, release: string, names: string): Promise<void> {
    if (session.ended) return;
    try {
      await session.send(release, [names]);
    } catch {
      await session.close();
    }
  }

  /** A lock of this process that is still there. */
  find(name: string): Held | undefined {
    const held = this.#held.get(name);
    if (held?.session.ended === undefined) return held;
    this.#held.delete(name);
    return undefined;
  }

  /** Frees each that is held by its owner. */
  async free(targets: readonly Target[]): Promise<boolean[]> {
    const plain = new Set(targets.length > 1 ? targets.filter((target) => this.#isPlain(target)) : []);
    const freed = plain.size > 1
      ? this.#underway.mark([...plain].map(({ name }) => name), () => this.#freeCrowd([...plain]))
      : undefined;
    return await Promise.all(targets.map(async (target) => {
      if (freed && plain.has(target)) return (await freed).has(target.name);
      return await this.#underway.alone(target.name, () => this.#releaseOne(target));
    }));
  }

  /** Whether nothing but the server's unlock is needed. */
  #isPlain({ name, owner }: Target): boolean {
    const held = this.#underway.has(name) ? undefined : this.find(name);
    return owner !== null && held !== undefined && !held.shared && held.holders.has(owner);
  }

  /** One statement for those on each session; the answer is those that were there. */
  async #freeCrowd(targets: readonly Target[]): Promise<Set<string>> {
    const crowd: Crowd<string> = new Map();
    for (const { name } of targets) add(crowd, this.#held.get(name)!.session, name);
    const freed = await Promise.all([...crowd].map(([session, names]) => this.#freeOn(session, names)));
    return new Set(freed.flat());
  }

  async #freeOn(session: Session, names: string[]): Promise<string[]> {
    try {
      const rows = await session.send(this.#sql.releaseEach, [JSON.stringify(names)]);
      return rows.filter(({ freed }) => freed === "true").map(({ name }) => name!);
    } catch (error) {
      if (session.ended) return []; // they went with the session
      await session.close(); // nobody can say what it still holds
      throw translate(`release ${namesOf(names.map((name) => ({ name })))}`, error);
    } finally {
      for (const name of names) this.#letGo(name, session);
    }
  }

  async #releaseOne({ name, owner }: Target): Promise<boolean> {
    if (owner === null) {
      throw new UnsupportedError('Cannot release by name in "session" mode: it has no row; want "lease" or "hybrid"');
    }
    const held = this.find(name);
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
      this.#letGo(name, held.session);
    }
  }

  #letGo(name: string, session: Session): void {
    this.#held.delete(name);
    this.#sessions.makeRoom(session);
    this.#queueing?.putBack(session);
  }
}

function add<Request>(crowd: Crowd<Request>, session: Session, request: Request): void {
  const some = crowd.get(session);
  if (some) some.push(request);
  else crowd.set(session, [request]);
}
