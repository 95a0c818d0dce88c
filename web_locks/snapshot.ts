/**
 * What `query` answers: the rows of the database as the standard shows them, and the requests of this process.
 *
 * @module
 */
import type { Backend, LockRow } from "../core/backend.ts";
import { retryOnce } from "../core/util/retry.ts";
import type { Clients } from "./clients.ts";
import { decodeName, escapeName, isHashed, unescapeName } from "./names.ts";
import type { LockInfo, LockManagerSnapshot } from "./types.ts";

/** What is stored with a lock. */
interface Metadata {
  readonly clientId: string;
  /** The name in escapes, if that of the lock is a hash. */
  readonly webName?: string;
}

/** Returns what to store with a lock. */
export function metadataOf({ name, clientId }: LockInfo, encoded: string): string {
  const metadata: Metadata = isHashed(encoded) ? { clientId, webName: escapeName(name) } : { clientId };
  return JSON.stringify(metadata);
}

/** Describes a holder or a waiter. One that is no lock manager is known by its `lockedBy`. */
function infoOf(encoded: string, { metadata, lockedBy, limit = 1 }: Pick<LockRow, "metadata" | "lockedBy" | "limit">) {
  const { clientId, webName } = (metadata === null ? {} : JSON.parse(metadata) ?? {}) as Partial<Metadata>;
  return {
    name: typeof webName === "string" ? unescapeName(webName) : decodeName(encoded),
    mode: limit === 1 ? "exclusive" : "shared",
    clientId: typeof clientId === "string" ? clientId : lockedBy,
  } satisfies LockInfo;
}

/** The waiters of one name in order: the database knows the next one of each process. */
function pendingOf(row: LockRow, own: LockInfo[], { ids }: Clients): LockInfo[] {
  const others = (row.queue ?? []).map((waiter) => infoOf(row.name, waiter));
  const placed = others.flatMap((info) => ids.has(info.clientId) ? own.splice(0, 1) : [info]);
  return [...placed, ...own.splice(0)];
}

/** Returns what is held and what waits; of this process, what was so before the database was asked. */
export async function snapshot(backend: Backend, clients: Clients): Promise<LockManagerSnapshot> {
  const pending = Map.groupBy([...clients.pending], ({ name }) => name);
  const held = new Map([...clients.held].map(([{ name, token }, info]) => [`${token} ${name}`, info]));
  const rows = await retryOnce(() => backend.list({}));
  const state: LockManagerSnapshot = { held: [], pending: [] };
  const names = new Set<string>();
  for (const row of rows) {
    const own = held.get(`${row.token} ${row.name}`);
    const info = own ?? infoOf(row.name, row);
    if (own || !clients.ids.has(info.clientId)) state.held.push({ ...info });
    if (names.has(row.name)) continue; // a further holder
    names.add(row.name);
    state.pending.push(...pendingOf(row, pending.get(info.name) ?? [], clients));
  }
  state.pending.push(...[...pending.values()].flat());
  return { held: state.held, pending: state.pending.map((info) => ({ ...info })) };
}
