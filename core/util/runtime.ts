/**
 * The only file that reads the host: its name, environment, clocks and timers. Built-in modules are loaded on first use:
 * a static `node:` import costs as much as the start of an empty program.
 *
 * @module
 */

/**
 * Keeps one of the host's functions as it was when this library was loaded: a test that replaces timers to move time by
 * hand must not stop the leases of real databases. It is read on first use: on Deno that takes 6 ms for timers.
 */
function original<Name extends "setTimeout" | "clearTimeout" | "setImmediate">(name: Name) {
  const found = Object.getOwnPropertyDescriptor(globalThis, name);
  let value: typeof globalThis[Name] | undefined = found?.value;
  return () => value ??= found?.get?.call(globalThis) as typeof globalThis[Name];
}
const setTimeout = original("setTimeout");
const clearTimeout = original("clearTimeout");
const setImmediate = original("setImmediate");

/** What this library uses of the `process` object that Deno, Node and Bun share. */
interface HostProcess {
  readonly platform: string;
  readonly env: Record<string, string | undefined>;
  getBuiltinModule?(name: string): unknown;
  emitWarning?(warning: Error): void;
}

/** Read on first use: on Deno `process` takes as long to load as an empty program. */
function host(): HostProcess | undefined {
  return (globalThis as { process?: HostProcess }).process;
}

/** Returns a built-in module of the runtime; `undefined` where there is none, as on an edge platform. */
export function builtin<T>(name: string): T | undefined {
  return host()?.getBuiltinModule?.(name) as T | undefined;
}

/** Returns an environment variable; `undefined` also where the program may not read it. */
export function environment(name: string): string | undefined {
  try {
    return host()?.env[name];
  } catch {
    return undefined; // Deno without permission for this variable
  }
}

/** Returns an environment variable that Deno lets the program read without asking the person at the terminal. */
export function grantedEnvironment(name: string): string | undefined {
  const { Deno } = globalThis as {
    Deno?: { permissions?: { querySync(permission: object): { readonly state: string } } };
  };
  const state = Deno?.permissions?.querySync({ name: "env", variable: name }).state ?? "granted";
  return state === "granted" ? environment(name) : undefined;
}

/** Which file a path leads to. */
export interface FileIdentity {
  readonly device: number;
  /** The number of the file on its device, unique while it is open. */
  readonly inode: number;
  /** Its length in bytes. */
  readonly size: number;
}

/**
 * Returns which file a path leads to, without opening it; `null` when there is none, `undefined` where the program may
 * not look. Deno's own call takes 3 µs, that of `node:fs` on Deno 8 to 14.
 */
export function identify(path: string): FileIdentity | null | undefined {
  type Stat = { readonly dev: number; readonly ino: number | null; readonly size: number };
  try {
    const stat = denoStat ?? builtin<{ statSync(path: string): Stat }>("node:fs")?.statSync;
    const found = stat?.(path);
    return found && { device: found.dev, inode: found.ino ?? 0, size: found.size };
  } catch (error) {
    const { code } = error as { code?: string };
    return code === "ENOENT" || code === "ENOTDIR" ? null : undefined;
  }
}

const denoStat = (globalThis as {
  Deno?: { statSync?(path: string): { readonly dev: number; readonly ino: number | null; readonly size: number } };
}).Deno?.statSync;

let cachedHostname: string | undefined;

/** Returns the machine's name, or `"unknown"` where the program may not ask. */
export function hostname(): string {
  if (cachedHostname === undefined) {
    try {
      cachedHostname = builtin<{ hostname(): string }>("node:os")?.hostname() || "unknown";
    } catch {
      cachedHostname = "unknown"; // Deno without `--allow-sys=hostname`
    }
  }
  return cachedHostname;
}

/** Whether paths may begin with a drive. */
export function isWindows(): boolean {
  return host()?.platform === "win32";
}

/** Returns the home directory; throws when the user has none. */
function home(): string {
  const found = environment("HOME") || environment("USERPROFILE") ||
    builtin<{ homedir(): string | null }>("node:os")?.homedir();
  if (!found) throw new Error("this user has no home directory");
  return found;
}

/**
 * Returns the directory where lockmgr keeps its state for this user, by the custom of the system.
 *
 * @throws {Error} When the user has no home directory.
 */
export function stateDirectory(): string {
  switch (host()?.platform) {
    case "win32":
      return `${environment("LOCALAPPDATA") || `${home()}\\AppData\\Local`}\\lockmgr`;
    case "darwin":
      return `${home()}/Library/Application Support/lockmgr`;
    default: {
      const own = environment("XDG_STATE_HOME"); // https://specifications.freedesktop.org/basedir: ignored if relative
      return `${own?.startsWith("/") ? own : `${home()}/.local/state`}/lockmgr`;
    }
  }
}

/** Returns milliseconds on a clock that never goes back. */
export const monotonic: () => number = performance.now.bind(performance);

/** The longest delay of a timer: a longer one fires at once, on every runtime. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** A running timer. */
export interface Timer {
  /** Stops it, unless it has fired. */
  stop(): void;
}

/** Runs `action` after `delay` milliseconds, at most 24 days. The process may end before unless `keepAlive`. */
export function startTimer(delay: number, action: () => void, keepAlive: boolean): Timer {
  const timer: unknown = setTimeout()(action, Math.min(Math.max(delay, 0), MAX_DELAY_MS));
  if (!keepAlive) (timer as { unref?(): void }).unref?.();
  return { stop: () => clearTimeout()(timer as number) };
}

/**
 * Waits so many milliseconds. Keeps the process alive unless told otherwise.
 *
 * @throws The signal's reason, as soon as it aborts.
 */
export function sleep(delay: number, signal?: AbortSignal, keepAlive = true): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      timer.stop();
      reject(signal!.reason);
    };
    const timer = startTimer(delay, () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, keepAlive);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Runs `action` after everything that is due now. */
export function defer(action: () => void): void {
  const schedule = setImmediate();
  if (schedule) schedule(action);
  else startTimer(0, action, true); // an edge platform without it
}

/** Runs `action` as a microtask of the host, which no test replaces. */
export const soon: (action: () => void) => void = globalThis.queueMicrotask.bind(globalThis);

/**
 * Runs `action` after answers that have arrived are read. After the event loop was blocked, its timers fire before its
 * sockets are read: an answer that a timer misses may be there.
 */
export function afterReads(action: () => void): void {
  defer(() => defer(() => defer(action)));
}

/** How long the thread sleeps for {@linkcode deferBriefly} (ms); it wakes up 0.1 ms later. */
const BRIEF_MS = 0.15;

let neverNotified: Int32Array | undefined;

/**
 * Runs `action` in a turn of the event loop, after the thread has slept for a moment that is much shorter than the
 * shortest timer, 1 ms on Node and 2 ms on Deno. To spin instead took the processor from the process that is waited for.
 */
export function deferBriefly(action: () => void): void {
  defer(() => {
    neverNotified ??= new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(neverNotified, 0, 0, BRIEF_MS);
    action();
  });
}

/** How long calls that are answered synchronously may block timers and sockets (ms). */
const YIELD_EVERY_MS = 20;

let yieldedAt = -Infinity;

/**
 * Lets timers and sockets run if they were blocked for a while: a loop over promises that are already resolved never
 * returns to the event loop by itself.
 */
export function yieldToEventLoop(): Promise<void> | undefined {
  const now = monotonic();
  if (now - yieldedAt < YIELD_EVERY_MS) return undefined;
  yieldedAt = now;
  return new Promise((resolve) => defer(resolve));
}

/** Returns the SHA-256 of a text in hexadecimal, at once. Only where there are sockets: an edge platform may lack it. */
export function sha256(text: string): string {
  return builtin<typeof import("node:crypto")>("node:crypto")!.createHash("sha256").update(text).digest("hex");
}

/** Returns an unguessable text. */
export function randomId(): string {
  return crypto.randomUUID();
}

/**
 * Reports a problem that must not be thrown where it arose: as a warning of the process, which prints it unless the
 * program listens for `warning`; on the console where there is no process.
 */
export function warn(error: Error): void {
  const process = host();
  try {
    if (process?.emitWarning) return process.emitWarning(error);
  } catch {
    // it refuses the errors of Jest's realm
  }
  console.warn(error);
}
