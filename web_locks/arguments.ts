/**
 * The arguments of `request`, converted and checked as the standard says, in its order. The messages are those of
 * browsers.
 *
 * @module
 */
import type { LockGrantedCallback, LockMode, LockOptions } from "./types.ts";

/** A request after all checks. */
export interface LockRequest extends Required<Omit<LockOptions, "signal">> {
  readonly name: string;
  readonly signal: AbortSignal | undefined;
  readonly callback: LockGrantedCallback<unknown>;
}

const MODES: readonly string[] = ["exclusive", "shared"] satisfies LockMode[];

function messageOf(problem: string): string {
  return `Failed to execute 'request' on 'LockManager': ${problem}`;
}

function notSupported(problem: string): DOMException {
  return new DOMException(messageOf(problem), "NotSupportedError");
}

/** Reads the members in alphabetical order, each once: they may be getters. */
function readOptions(given: unknown): Required<Omit<LockRequest, "name" | "callback">> {
  if (given !== undefined && given !== null && typeof given !== "object" && typeof given !== "function") {
    throw new TypeError(messageOf("The provided value is not of type 'LockOptions'."));
  }
  const options = (given ?? {}) as Readonly<Record<keyof LockOptions, unknown>>;
  const ifAvailable = Boolean(options.ifAvailable);
  const givenMode = options.mode;
  const mode = givenMode === undefined ? "exclusive" : `${givenMode}`;
  if (!MODES.includes(mode)) {
    throw new TypeError(messageOf(`The provided value '${mode}' is not a valid enum value of type LockMode.`));
  }
  const signal = options.signal;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(messageOf("member signal is not of type AbortSignal."));
  }
  return { ifAvailable, mode: mode as LockMode, signal, steal: Boolean(options.steal) };
}

/** Refuses what the standard does not combine. */
function checkRequest({ name, mode, ifAvailable, steal, signal }: LockRequest): void {
  if (name.startsWith("-")) throw notSupported("Names cannot start with '-'.");
  if (steal && ifAvailable) {
    throw notSupported("The 'steal' and 'ifAvailable' options cannot be used together.");
  }
  if (steal && mode !== "exclusive") {
    throw notSupported("The 'steal' option may only be used with 'exclusive' locks.");
  }
  if (signal && steal) throw notSupported("The 'signal' and 'steal' options cannot be used together.");
  if (signal && ifAvailable) throw notSupported("The 'signal' and 'ifAvailable' options cannot be used together.");
}

/**
 * Returns the request of a call.
 *
 * @throws {TypeError} For an argument that is missing or cannot be converted.
 * @throws {DOMException} `NotSupportedError` for a name or a combination of options that the standard refuses.
 * @throws The reason of a signal that has aborted.
 */
export function readRequest(given: readonly unknown[]): LockRequest {
  if (given.length < 2) throw new TypeError(messageOf(`2 arguments required, but only ${given.length} present.`));
  const name = `${given[0]}`;
  const options = readOptions(given.length > 2 ? given[1] : undefined);
  const place = given.length > 2 ? 2 : 1;
  const callback = given[place];
  if (typeof callback !== "function") {
    throw new TypeError(messageOf(`parameter ${place + 1} is not of type 'Function'.`));
  }
  const request = { name, ...options, callback: callback as LockGrantedCallback<unknown> };
  checkRequest(request);
  options.signal?.throwIfAborted();
  return request;
}
