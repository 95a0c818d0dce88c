import { setTimeout as pause } from "node:timers/promises";
import { type Backend, BackendError, connect, describeTarget, Lock, type LockRecord } from "../mod.ts";
import type { Context, GlobalFlags, OpenOptions } from "./command.ts";
import { within } from "./deadline.ts";
import { environment } from "./host.ts";

/** The database of the flags, else of the environment; `undefined` is the default file. */
export function targetOf(flags: GlobalFlags): string | undefined {
  return flags.url ?? environment("LOCKMGR_URL");
}

/** Describes the database and where its name came from, without user, password and parameters. */
export async function targetInWords(flags: GlobalFlags): Promise<string> {
  const target = targetOf(flags);
  const source = target === undefined ? "the default" : `from ${flags.url === undefined ? "LOCKMGR_URL" : "--url"}`;
  try {
    return `${await describeTarget(target)} (${source})`;
  } catch {
    return `not a database that can be named (${source})`; // the error of opening it says why
  }
}

/** Opens the database that holds the locks. */
export async function openBackend(flags: GlobalFlags, options: OpenOptions = {}): Promise<Backend> {
  const { mode, table } = flags;
  const given = Object.entries({ mode, table, ...options }).filter(([, value]) => value !== undefined);
  return await connect(targetOf(flags), Object.fromEntries(given)); // one that is absent is what the URL says
}

/** The pause between tries to open a database that is away, and how long it may take to answer after the wait (s). */
const RETRY_S = 0.5;
const LAST_ANSWER_S = 1.5;

/** Opens the database for a command that waits for so many seconds, also while the database is away. */
export async function openWhileWaiting({ open, output, stopping }: Context, wait: number): Promise<Backend> {
  if (wait === 0) return await open();
  const until = performance.now() + wait * 1e3;
  for (let told = "";;) {
    const left = Math.max(until - performance.now(), 0) / 1e3;
    try {
      return await within(left + LAST_ANSWER_S, open(), notOpened);
    } catch (error) {
      if (!(error instanceof BackendError) || !error.retryable || performance.now() >= until) throw error;
      if (error.message !== told) output.message(`lockmgr: ${error.message}: trying again`);
      told = error.message;
    }
    await stopping.outcomeOf(pause(Math.min(RETRY_S, left) * 1e3), 0);
  }
}

function notOpened(): BackendError {
  return new BackendError("Cannot open the database: the wait is over, and it has not answered", { retryable: true });
}

/**
 * Opens the database for locks that outlive this program. Hybrid locks would end with it, so leases are used instead:
 * both exclude each other in the same table.
 */
export async function openToStay(open: Context["open"]): Promise<Backend> {
  const backend = await open();
  return staying(backend.mode === "hybrid" ? await open({ mode: "lease" }) : backend);
}

/** The same database as another backend, whose locks the disposal of the first does not release. */
function staying(backend: Backend): Backend {
  return {
    engine: backend.engine,
    mode: backend.mode,
    acquire: (requests, options) => backend.acquire(requests, options),
    renew: (requests) => backend.renew(requests),
    release: (targets) => backend.release(targets),
    list: (filter) => backend.list(filter),
    clean: (scope) => backend.clean(scope),
    [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
  };
}

/** Releases the locks that this program created, not those that it renewed. */
export async function giveBack(locks: readonly LockRecord[]): Promise<void> {
  await Promise.all(locks.map(async (lock) => {
    if (lock instanceof Lock) await lock[Symbol.asyncDispose]();
  }));
}
