/**
 * What the tests of the npm package `navigator.locks` use of their runner, Jest with jsdom, and of their helpers.
 *
 * @module
 */
import type { Backend } from "@lockmgr/lockmgr";
import { type LockManager, lockManager } from "@lockmgr/lockmgr/web-locks";
import assert from "node:assert/strict";

/** A test that a file has registered. */
export interface Registered {
  readonly name: string;
  readonly body: () => void | Promise<void>;
}

let registered: Registered[] = [];
let group = "";
let backend: Backend | undefined;

/** Returns the tests that were registered since the last call. */
export function takeRegistered(): Registered[] {
  const taken = registered;
  registered = [];
  return taken;
}

/** Sets the backend of the lock managers that a test makes. */
export function setBackend(of: Backend): void {
  backend = of;
}

export function describe(name: string, body: () => void): void {
  group = name;
  body();
}

export function test(name: string, body: () => void | Promise<void>): void {
  registered.push({ name: `${group}: ${name}`, body });
}

/** A function that counts its calls. */
interface Mock {
  (...parameters: unknown[]): unknown;
  calls: number;
}

export const jest = {
  fn(implementation: (...parameters: unknown[]) => unknown): Mock {
    const mock: Mock = Object.assign((...parameters: unknown[]) => {
      mock.calls++;
      return implementation(...parameters);
    }, { calls: 0 });
    return mock;
  },
};

/** The matchers that the tests use, as checks of a value. */
const matchers: Record<string, (actual: never, ...expected: never[]) => void> = {
  toBe: (actual: unknown, expected: unknown) => assert(Object.is(actual, expected)),
  toEqual: (actual: unknown, expected: unknown) => assert.deepEqual(actual, expected),
  toBeTruthy: (actual: unknown) => assert(actual),
  toBeFalsy: (actual: unknown) => assert(!actual),
  toBeInstanceOf: (actual: unknown, type: new () => unknown) => assert(actual instanceof type, String(actual)),
  toHaveLength: (actual: { length: number }, length: number) => assert.equal(actual.length, length),
  toHaveProperty: (actual: Record<string, unknown>, name: string, ...values: unknown[]) => {
    assert(name in actual);
    if (values.length > 0) assert.equal(actual[name], values[0]);
  },
  toHaveBeenCalled: ({ calls }: Mock) => assert(calls > 0),
};

type Matchers = Record<string, (...expected: unknown[]) => unknown>;

/** Returns the matchers, run by `check` each. */
function matching(check: (matcher: (actual: unknown) => void) => unknown): Matchers {
  return Object.fromEntries(
    Object.entries(matchers).map(([name, matcher]) => [
      name,
      (...expected: unknown[]) => check((actual) => matcher(actual as never, ...expected as never[])),
    ]),
  );
}

async function rejectionOf(actual: unknown): Promise<unknown> {
  const promise = typeof actual === "function" ? actual() : actual;
  const missing = Symbol();
  const reason = await promise.then(() => missing, (error: unknown) => error);
  assert.notEqual(reason, missing, "the promise was fulfilled");
  return reason;
}

export function expect(actual: unknown) {
  return {
    ...matching((matcher) => matcher(actual)),
    not: matching((matcher) => assert.throws(() => matcher(actual))),
    rejects: matching(async (matcher) => matcher(await rejectionOf(actual))),
  };
}

/** As in jsdom, whose default reason has this text. */
export class AbortController extends globalThis.AbortController {
  override abort(reason: unknown = new DOMException("The operation was aborted.", "AbortError")): void {
    super.abort(reason);
  }
}

export const self = globalThis;
export const window = { localStorage: { removeItem() {} } };

/** Only a type: it is imported as if it were a value. */
export const LockInfo = undefined;

/** Makes a lock manager. Some tests leave requests that never end: those end with the backend. */
export function createWebLocksInstance(): LockManager {
  const manager = lockManager(backend!);
  const request = (...parameters: Parameters<LockManager["request"]>) => {
    const result = manager.request(...parameters);
    result.catch(() => {});
    return result;
  };
  return { request: request as LockManager["request"], query: () => manager.query() };
}

export const neverSettledPromise: Promise<never> = new Promise(() => {});

export function generateRandomId(): string {
  return crypto.randomUUID();
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
