import type { AcquireAnswer, AcquireRequest, LockRef } from "../../../core/backend.ts";
import { CrowdedLocks } from "./crowded_locks.ts";
import type { LockParts } from "./session_parts.ts";
import { SingleLocks } from "./single_locks.ts";
import { KeyedMutex } from "./keyed_mutex.ts";

/** Takes and frees session locks, one by one or hundreds in one statement. */
export class SessionLocks {
  readonly #parts: LockParts;
  readonly #single: SingleLocks;
  readonly #crowded: CrowdedLocks;
  readonly #underway = new KeyedMutex();

  constructor(parts: LockParts) {
    this.#parts = parts;
    this.#single = new SingleLocks(parts);
    this.#crowded = new CrowdedLocks(parts);
  }

  /** Takes each that is free. */
  take(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const { held } = this.#parts;
    return this.#divide(requests, {
      // nothing but a try is needed
      isPlain: ({ name }) => held.find(name) === undefined,
      together: (some) => this.#crowded.take(some),
      alone: (request) => this.#single.take(request),
    });
  }

  /** Frees each that is held by its owner. */
  free(targets: readonly LockRef[]): Promise<boolean[]> {
    const { held } = this.#parts;
    return this.#divide(targets, {
      // nothing but the server's unlock is needed
      isPlain: ({ name, owner }) => owner !== null && held.known(name)?.owner === owner,
      together: (some) => this.#crowded.free(some),
      alone: (target) => this.#single.free(target),
    });
  }

  /** Sends what is plain together, each name once, and everything else by itself; the answers are in order. */
  async #divide<Request extends { readonly name: string }, Answer>(
    requests: readonly Request[],
    { isPlain, together, alone }: Ways<Request, Answer>,
  ): Promise<Answer[]> {
    const byItself = (request: Request) => this.#underway.alone(request.name, () => alone(request));
    if (requests.length === 1) return [await byItself(requests[0])];
    const names = new Set<string>();
    const crowd: Request[] = [];
    const others: Request[] = [];
    for (const request of requests) {
      const { name } = request;
      const plain = !names.has(name) && this.#underway.over(name) === undefined && isPlain(request);
      names.add(name);
      (plain ? crowd : others).push(request);
    }
    if (crowd.length < 2) return await Promise.all(requests.map(byItself));
    const theirs = others.length === 0 ? names : new Set(crowd.map(({ name }) => name));
    const answers = this.#underway.together(theirs, () => together(crowd));
    if (others.length === 0) return await answers;
    const [some, rest] = await Promise.all([answers, Promise.all(others.map(byItself))]);
    let [next, nextOther] = [0, 0];
    return requests.map((request) => request === crowd[next] ? some[next++] : rest[nextOther++]);
  }
}

/** How requests of one kind are met. */
interface Ways<Request, Answer> {
  /** Whether others may come along. */
  isPlain(request: Request): boolean;
  /** Sends several plain ones. */
  together(requests: readonly Request[]): Promise<Answer[]>;
  /** Sends one of any kind. */
  alone(request: Request): Promise<Answer>;
}
