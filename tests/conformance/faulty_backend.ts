import { type Backend, BackendError, closeLocks, type OwnedLock } from "@lockmgr/lockmgr";
import { checkMembers } from "./members.ts";

/**
 * One request to a {@linkcode faultyBackend}.
 *
 * @example
 * ```ts
 * import type { BackendRequest, FaultScript } from "@lockmgr/lockmgr/conformance";
 *
 * const isSecondRenewal = ({ verb, number }: BackendRequest) => verb === "renew" && number === 2;
 * const script: FaultScript = (request) => isSecondRenewal(request) ? { release: true } : undefined;
 * console.log(script({ verb: "renew", names: ["jobs"], number: 2 }));
 * ```
 */
export interface BackendRequest {
  /** What is asked of the backend. A refresh, `verify()` and `isLocked` are a `"list"`, on some backends a `"verify"`. */
  readonly verb: "acquire" | "renew" | "release" | "adopt" | "list" | "clean" | "verify";
  /** The names; several if requests are batched, none for all. */
  readonly names: readonly string[];
  /** How many requests of this verb there were, this one included. */
  readonly number: number;
}

/**
 * What goes wrong with one request. All of it together is possible; `{}` is no fault.
 *
 * @example
 * ```ts
 * import type { Fault } from "@lockmgr/lockmgr/conformance";
 *
 * const slowAndLost: Fault = { delay: 0.5, loseAnswer: true };
 * console.log(slowAndLost);
 * ```
 */
export interface Fault {
  /** Seconds that pass before the request is sent. @default 0 */
  readonly delay?: number;
  /** Releases the names by force first, as an administrator would. Not in `session` mode. @default false */
  readonly release?: boolean;
  /** Ends what the request acquires after so many seconds. The holder learns it when it next asks, as by its renewal. */
  readonly expires?: number;
  /** Fails with a retryable `BackendError`, and sends nothing. @default false */
  readonly refuse?: boolean;
  /** Fails with a retryable `BackendError` after the request took effect. @default false */
  readonly loseAnswer?: boolean;
}

/**
 * Decides about each request before it is sent: what it returns goes wrong, nothing goes wrong without.
 *
 * @example
 * ```ts
 * import type { FaultScript } from "@lockmgr/lockmgr/conformance";
 *
 * let down = false;
 * const script: FaultScript = () => down ? { refuse: true } : undefined; // set `down` in the middle of a test
 * console.log(script({ verb: "list", names: [], number: 1 }), down = true);
 * ```
 */
export type FaultScript = (request: BackendRequest) => Fault | undefined;

/**
 * Wraps a backend in one whose requests fail by a script: for tests of a program that uses locks. The library does with
 * the faults what it does with real ones: it repeats a request after a retryable error once, and undoes what was granted
 * in an answer that was lost.
 *
 * @example
 * ```ts
 * import { connect, LockLost, withLock } from "@lockmgr/lockmgr";
 * import { faultyBackend } from "@lockmgr/lockmgr/conformance";
 * import assert from "node:assert/strict";
 *
 * await using backend = faultyBackend(
 *   await connect("sqlite::memory:"),
 *   ({ verb }) => verb === "renew" ? { release: true } : undefined,
 * );
 * const work = withLock("report", { backend, expires: 1 }, async ({ signal }) => {
 *   while (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 10));
 * });
 * await assert.rejects(work, LockLost); // at the first renewal
 * ```
 *
 * @param backend The backend; the faulty one disposes of it.
 * @param script What goes wrong with which request.
 * @throws {TypeError} For what is no backend or no function. A request throws it for a fault that is none.
 */
export function faultyBackend(backend: Backend, script: FaultScript): Backend {
  checkParts(backend, script);
  const numbers = new Map<BackendRequest["verb"], number>();
  const pauses = new Set<() => void>();
  const pause = (seconds: number) =>
    new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        pauses.delete(end);
        resolve();
      };
      const timer = setTimeout(end, seconds * 1e3);
      pauses.add(end);
    });
  const endLater = async (locks: readonly OwnedLock[], seconds: number) => {
    await pause(seconds);
    await backend.release(locks.map(({ name, owner }) => ({ name, owner })));
    await backend.clean("expired"); // wakes waiters of this very client, too
  };
  const send = async <T>(
    verb: BackendRequest["verb"],
    names: readonly string[],
    request: () => Promise<T>,
    acquired: readonly OwnedLock[] = [],
  ): Promise<T> => {
    const number = (numbers.get(verb) ?? 0) + 1;
    numbers.set(verb, number);
    const { delay = 0, release, expires, refuse, loseAnswer } = checkedFault(verb, script({ verb, names, number }));
    if (delay > 0) await pause(delay);
    if (release) await backend.release(names.map((name) => ({ name, owner: null })));
    if (refuse) throw failure(verb, "the script refuses it");
    const answer = await request();
    if (expires !== undefined && acquired.length > 0) endLater(acquired, expires).catch(() => {}); // closed
    if (loseAnswer) throw failure(verb, "the script lost its answer");
    return answer;
  };
  const faulty: Partial<Backend> = {
    acquire: (requests, options) =>
      send("acquire", namesOf(requests), () => backend.acquire(requests, options), requests),
    renew: (requests) => send("renew", namesOf(requests), () => backend.renew(requests)),
    release: (locks) => send("release", namesOf(locks), () => backend.release(locks)),
    adopt: backend.adopt && ((lock, next) => send("adopt", [lock.name], () => backend.adopt!(lock, next))),
    list: (filter) => send("list", filter.names ?? [], () => backend.list(filter)),
    clean: (scope) => send("clean", [], () => backend.clean(scope)),
    verify: backend.verify && ((lock) => send("verify", [lock.name], () => backend.verify!(lock))),
    [Symbol.asyncDispose]: () =>
      closeLocks(proxy, async () => {
        for (const end of pauses) end();
        await backend[Symbol.asyncDispose]();
      }),
  };
  const proxy = new Proxy(backend, {
    get(target, key) {
      if (Object.hasOwn(faulty, key)) return faulty[key as keyof Backend];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return proxy;
}

function checkParts(backend: unknown, script: unknown): void {
  const refuse = (wanted: string) => new TypeError(`Cannot make a faulty backend: want ${wanted}`);
  if (typeof (backend as Backend | null)?.acquire !== "function") throw refuse('what "await connect(…)" returns');
  if (typeof script !== "function") throw refuse("a function as script");
}

/** A misspelt fault would be none, and the program's test would pass. */
function checkedFault(verb: string, fault: Fault = {}): Fault {
  const faults = { delay: "number", expires: "number", release: "boolean", refuse: "boolean", loseAnswer: "boolean" };
  checkMembers(`${verb}: the script returns no fault`, fault, faults);
  return fault;
}

function namesOf(requests: readonly { readonly name: string }[]): string[] {
  return requests.map(({ name }) => name);
}

function failure(verb: string, reason: string): BackendError {
  return new BackendError(`Cannot ${verb}: ${reason}`, { retryable: true });
}
