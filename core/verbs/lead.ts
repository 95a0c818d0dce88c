import type { Lock } from "../lock/lock.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { checkName, type LeadOptions, resolveLockOptions } from "../options/options.ts";
import { openBackend } from "./get_lock.ts";
import { withLock } from "./with_lock.ts";

/** The default of `expires`: how long the name has no leader after a crash, in a mode that only the lease ends (s). */
const LEADER_EXPIRES_S = 30;

/**
 * Elects a leader: waits until this caller has the name, and runs `body` as its holder. After a loss, and once `body` has
 * ended, it waits for the name again. It resolves when `body` has returned without a loss, or `signal` aborts.
 *
 * There is never a second leader while `body` heeds `lock.signal`, which aborts before another caller is elected.
 *
 * @example
 * ```ts
 * import { connect, lead } from "@lockmgr/lockmgr";
 *
 * await using backend = await connect("sqlite::memory:");
 * const stop = AbortSignal.timeout(100); // or the signal of an AbortController that aborts on SIGTERM
 * await lead("scheduler", { backend, signal: stop }, async (lock) => {
 *   const ended = AbortSignal.any([lock.signal, stop]);
 *   while (!ended.aborted) await new Promise((resolve) => setTimeout(resolve, 20)); // the leader's work
 * });
 * ```
 *
 * @param name As for `getLock`.
 * @param options `expires` is 30 s by default. `signal` ends the wait; while `body` runs, `body` has to heed it.
 * @param body Runs as the leader. What it throws because of an aborted `signal` or `lock.signal` is no failure: it is
 * that signal's reason, or an error with it as `cause`.
 * @throws What else `body` throws: this caller resigns and takes no further part.
 * @throws {BackendError} When the database refuses; an outage is waited out.
 * @throws {TypeError | RangeError} For an invalid name or option, before anything is asked of the database.
 */
export async function lead(name: string, options: LeadOptions = {}, body: (lock: Lock) => unknown): Promise<void> {
  checkVerbOptions("lead", options);
  if (typeof body !== "function") throw new TypeError(`Cannot run a body of type ${typeof body}: want a function`);
  checkName(name);
  const { signal } = options;
  const wait = Infinity;
  const resolved = resolveLockOptions({ ...options, wait });
  while (!signal?.aborted) {
    let elected: Lock | undefined;
    try {
      const backend = await openBackend(name, options, resolved);
      const { expires = backend.mode === "session" ? undefined : LEADER_EXPIRES_S } = options;
      await withLock(name, { ...options, backend, expires, wait }, (lock) => body(elected = lock));
      return;
    } catch (error) {
      if (elected?.signal.aborted && isDueTo(elected.signal, error)) continue;
      if (!signal?.aborted || !isDueTo(signal, error)) throw error;
    }
  }
}

/** Whether an error only says that a signal has aborted. */
function isDueTo({ reason }: AbortSignal, error: unknown): boolean {
  return error === reason || (error instanceof Error && error.cause === reason);
}
