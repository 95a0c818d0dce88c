import { type Backend, connect, describeTarget, Lock, type LockRecord } from "../mod.ts";
import type { Context, GlobalFlags, OpenOptions } from "./command.ts";
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
