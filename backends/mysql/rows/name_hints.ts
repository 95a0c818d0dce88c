import type { LockRow, OwnedLock } from "../../../core/backend.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { monotonic } from "../../../core/util/runtime.ts";

/** How many names are remembered; a forgotten one costs one more statement. */
const SIZE = 16_384;

/** For how long a name counts as just released (ms). */
const JUST_MS = 1_000;

/** What is known of a name's row: that it exists, and its content while an acquisition of this process holds it. */
interface KnownRow {
  readonly owner?: string;
  readonly row?: LockRow;
  /** When this process released it (ms, monotonic). */
  readonly releasedAt?: number;
}

/** A row of which only its existence is known. */
const EXISTS: KnownRow = {};

/**
 * What this process remembers of names, to save statements; the database alone decides. Keyed by name and not by owner:
 * names come back, owners do not, and new keys cost a batch a thirtieth of its time.
 */
export class NameHints {
  readonly #rows = new LruMap<string, KnownRow>(SIZE);
  readonly #contended = new LruMap<string, { readonly holder?: LockRow | undefined; readonly isSame: boolean }>(SIZE);

  /** The row of an acquisition as last answered: with it a renewal needs only one number from the server. */
  granted({ name, owner }: OwnedLock): LockRow | undefined {
    const known = this.#rows.get(name);
    return known?.owner === owner ? known.row : undefined;
  }

  /** Remembers the row of an acquisition. */
  noteGranted(owner: string, row: LockRow): void {
    this.#rows.set(row.name, { owner, row });
  }

  /** Whether the name was seen to have a row. */
  hasRow(name: string): boolean {
    return this.#rows.has(name);
  }

  /** Remembers that the name has no row. */
  noteRowless(name: string): void {
    this.#rows.delete(name);
  }

  /** Forgets an acquisition that was released; its row exists further. */
  forget({ name, owner }: OwnedLock): void {
    if (this.#rows.get(name)?.owner === owner) this.#rows.set(name, { releasedAt: monotonic() });
  }

  /** Whether this process has just released the name: it is likely to be free still. */
  wasJustReleased(name: string): boolean {
    return monotonic() - (this.#rows.get(name)?.releasedAt ?? -Infinity) < JUST_MS;
  }

  /** Whether the name was last seen held: then a look costs less than an attempt, and names the holder. */
  isContended(name: string): boolean {
    return this.#contended.has(name);
  }

  /** The holder of a name that was twice seen the same and alone: then it is likely to be that still. */
  lastingHolder(name: string): LockRow | undefined {
    const contended = this.#contended.get(name);
    return contended?.isSame ? contended.holder : undefined;
  }

  /** Remembers that a name was seen held. */
  noteContended(name: string, holder?: LockRow): void {
    const before = this.#contended.get(name)?.holder;
    const isAlone = holder?.waiters === 0 && holder.limit === 1;
    const isSame = isAlone && holder.token === before?.token && holder.updatedAt === before.updatedAt;
    this.#contended.set(name, { holder, isSame });
    if (!this.#rows.has(name)) this.#rows.set(name, EXISTS);
  }

  /** Remembers that a name was seen free. */
  noteFree(name: string): void {
    this.#contended.delete(name);
  }
}
