import type { AcquireAnswer, AcquireRequest, LockRef } from "../../../core/backend.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { type Entry, hasToExtend, isLive, type Line } from "../../shared/line.ts";
import { waitersIn } from "../../shared/line_answers.ts";
import type { Looked } from "../wakeup/waiters.ts";

/** How many names are remembered. */
const SIZE = 16_384;

/** What a look has found of a lock that another client's release has granted. */
export interface SeenGrant {
  readonly token: bigint;
  /** When it was granted (µs). */
  readonly createdAt: number;
  readonly waiters: number;
}

/** What was last read of a name. */
interface Seen {
  /** The highest token. */
  readonly token: string;
  /** Whether there is a queue, or holders that admit others. */
  readonly queued: boolean;
  /** The owner of the waiter of this process, its place, and what it was granted as the first holder. */
  readonly waiter?: string | undefined;
  readonly position: number;
  /** When its window ends (µs, monotonic). */
  readonly until: number;
  readonly grant?: SeenGrant | undefined;
}

/** What this process has last read of names and of its waiters there; the database alone decides. */
export class SeenNames {
  readonly #seen = new LruMap<string, Seen>(SIZE);

  /** Whether a name was last seen with a queue. */
  isQueued(name: string): boolean {
    return this.#seen.get(name)?.queued ?? false;
  }

  /** The highest tokens of names. */
  tokensOf(names: readonly string[]): { readonly name: string; readonly token: string }[] {
    return names.map((name) => ({ name, token: this.#seen.get(name)?.token ?? "0" }));
  }

  /** Whether a request was last seen waiting. */
  isWaiting({ name, owner }: LockRef): boolean {
    return this.#seen.get(name)?.waiter === owner;
  }

  /** Whether the window of a waiting request has to be extended, which is taken to happen then. */
  hasToExtend(request: AcquireRequest): boolean {
    const seen = this.#seen.get(request.name)!;
    const now = monotonic() * 1e3;
    if (!hasToExtend(seen, request, now)) return false;
    this.#seen.set(request.name, { ...seen, until: now + request.window! });
    return true;
  }

  /** What a waiter of this process was granted when its name was last looked at. */
  grantOf({ name, owner }: AcquireRequest): SeenGrant | undefined {
    const seen = this.#seen.get(name);
    return seen?.waiter === owner ? seen.grant : undefined;
  }

  /** Tells from a row of `selectTurns` whether it is the turn of the waiter of this process. */
  look([name, token, owner, isFirstLive, line, now, firstToken, createdAt]: readonly (string | null)[]): Looked {
    const seen = this.#seen.get(name!);
    const live = isFirstLive === "1";
    if (seen?.waiter === undefined) return { isDue: !live || token !== seen?.token, position: 1 };
    const rest: Entry[] = JSON.parse(line ?? "[]");
    if (owner === seen.waiter) {
      const waiters = waitersIn({ token: 0, entries: rest }, Number(now));
      const grant = live ? { token: BigInt(firstToken!), createdAt: Number(createdAt), waiters } : undefined;
      this.#seen.set(name!, { ...seen, token: token!, queued: true, grant });
      return { isDue: true, position: 1 };
    }
    if (token === seen.token && live) return { isDue: false, position: seen.position };
    const place = placeIn(rest, seen.waiter, live, Number(now));
    this.#seen.set(name!, { ...seen, token: token!, position: place ?? 1 });
    return { isDue: place === undefined, position: place ?? 1 };
  }

  /** Notes a line as it was read or stored. */
  note(name: string, { token, entries }: Line): void {
    const queued = entries.length > 1 || entries.some(({ limit }) => limit > 1);
    this.#seen.set(name, { position: 1, until: 0, ...this.#seen.get(name), token: String(token), queued });
  }

  /** Notes whether a request of this process waits. */
  noteAnswer({ name, owner, window = 0 }: AcquireRequest, answer: AcquireAnswer): void {
    const position = answer.granted ? undefined : answer.position;
    const seen = this.#seen.get(name)!;
    const until = seen.waiter === owner ? seen.until : monotonic() * 1e3 + window;
    if (position !== undefined) this.#seen.set(name, { ...seen, waiter: owner, position, until, grant: undefined });
    else if (seen.waiter === owner) this.#seen.set(name, { ...seen, waiter: undefined, grant: undefined });
  }
}

/**
 * Returns the place of a waiter among those after the holders.
 *
 * @param rest The entries but the first, which `isFirstLive` tells of.
 * @returns Nothing when it holds the lock, or may have it, or no longer waits.
 */
function placeIn(rest: readonly Entry[], owner: string, isFirstLive: boolean, now: number): number | undefined {
  const live = rest.filter((entry) => isLive(entry, now));
  const holders = live.filter(({ token }) => token !== undefined).length;
  const index = live.findIndex((entry) => entry.owner === owner);
  const isWaiting = index >= holders && (isFirstLive || holders > 0);
  return isWaiting ? index - holders + 1 : undefined;
}
