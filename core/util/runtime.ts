/**
 * The only file that reads the host: its name, its environment, its clocks and timers. Built-in modules are
 * reached when they are needed: a static `node:` import costs as much at start-up as an empty program.
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
const now = performance.now.bind(performance);

/** What this library uses of the `process` object that Deno, Node and Bun share. */
interface HostProcess {
  readonly platform: string;
  readonly env: Record<string, string | undefined>;
  getBuiltinModule?(name: string): unknown;
  emitWarning?(warning: Error): void;
}

/** Asked for when it is needed: on Deno the first look at `process` takes as long as the start of an empty program. */
function host(): HostProcess | undefined {
  return (globalThis as { process?: HostProcess }).process;
}

/** A built-in module of the runtime; `undefined` where there is none, as on an edge platform. */
export function builtin<T>(name: string): T | undefined {
  return host()?.getBuiltinModule?.(name) as T | undefined;
}

/** An environment variable; `undefined` also where the program may not read it. */
export function environment(name: string): string | undefined {
  try {
    return host()?.env[name];
  } catch {
    return undefined; // Deno without permission for this variable: the same as not set
  }
}

/** What a path leads to. */
export interface FileIdentity {
  /** The number of the device. */
  readonly device: number;
  /** The number of the file on its device, which no other has while it is open. */
  readonly inode: number;
  /** Its length in bytes. */
  readonly size: number;
}

/**
 * What a path leads to, without opening it; `null` when there is no file, `undefined` where the program may not look.
 * Deno's own call takes 3 µs, the one of `node:fs` there 8 to 14.
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

/** The machine's name, or `"unknown"` where the program may not ask. */
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

/** Whether paths begin with a drive. */
export function isWindows(): boolean {
  return host()?.platform === "win32";
}

/**
 * Returns the home directory, as the environment has it.
 *
 * @throws {Error} When there is none, as for a user without an entry in the password database.
 */
function home(): string {
  const found = environment("HOME") || environment("USERPROFILE") ||
    builtin<{ homedir(): string | null }>("node:os")?.homedir();
  if (!found) throw new Error("this user has no home directory");
  return found;
}

/**
 * Returns where programs of this user keep their state, by the custom of the system.
 *
 * @throws {Error} When the user has no home directory, or it cannot be found out.
 */
export function stateDirectory(): string {
  switch (host()?.platform) {
    case "win32":
      return `${environment("LOCALAPPDATA") || `${home()}\\AppData\\Local`}\\lockmgr`;
    case "darwin":
      return `${home()}/Library/Application Support/lockmgr`;
    default:
      return `${environment("XDG_STATE_HOME") || `${home()}/.local/state`}/lockmgr`;
  }
}

/** Milliseconds on a clock that only moves forward, whatever happens to the time of day. */
export function monotonic(): number {
  return now();
}

/** The longest delay that a timer keeps: a longer one fires at once, on every runtime. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A timer that was started and can be stopped. */
export interface Timer {
  /** Stops it; once it has fired, nothing. */
  stop(): void;
}

/** Runs `action` after `delay` milliseconds, or earlier when the delay is longer than a timer can keep. */
export function startTimer(delay: number, action: () => void, keepAlive: boolean): Timer {
  const timer: unknown = setTimeout()(action, Math.min(Math.max(delay, 0), LONGEST_TIMER));
  if (!keepAlive) unref(timer);
  return { stop: () => clearTimeout()(timer as number) };
}

/** Lets the process end although the timer, watcher or socket is there. */
export function unref(timer: unknown): void {
  (timer as { unref?(): void }).unref?.();
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

/** Runs `action` once everything has run that is due by now. */
export function defer(action: () => void): void {
  const schedule = setImmediate();
  if (schedule) schedule(action);
  else startTimer(0, action, true); // an edge platform without it
}

/** Runs `action` before anything else that is due: the host's own, whatever replaces it. */
export const soon: (action: () => void) => void = globalThis.queueMicrotask.bind(globalThis);

/**
 * Runs `action` once answers that have arrived were read. After the event loop stood still its timers fire before its
 * sockets are read: what a timer judges by an answer that did not come may be there.
 */
export function afterReads(action: () => void): void {
  defer(() => defer(() => defer(action)));
}

/** How long a chain of calls that never really wait may keep timers and sockets waiting (ms). */
const BREATH = 20;

let breathedAt = -Infinity;

/**
 * Lets timers and sockets have their turn when they may have had none for a while: answers that are there at once
 * are promises all the same, and a loop over them would never let go of the event loop.
 */
export function yieldToEventLoop(): Promise<void> | undefined {
  const now = monotonic();
  if (now - breathedAt < BREATH) return undefined;
  breathedAt = now;
  return new Promise((resolve) => defer(resolve));
}

/** An unguessable text, new each time. */
export function randomId(): string {
  return crypto.randomUUID();
}

/**
 * Tells the program of a problem that must not be thrown where it arose: a warning of the process, which prints it
 * unless the program listens for `warning`.
 */
export function warn(error: Error): void {
  const process = host();
  if (process?.emitWarning) process.emitWarning(error);
  else console.warn(error);
}
