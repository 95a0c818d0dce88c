import type { LockRow, OwnedLock } from "../../../core/backend.ts";
import { LruMap } from "../../../core/util/lru_map.ts";

/** How many names each memory keeps: beyond it the oldest is forgotten, which costs one more statement. */
const SIZE = 16_384;

/** The owner of a name that was seen held by somebody unknown. */
const SOMEBODY = "";

/** What is known of a name's row: that it is there, and what it says as long as an acquisition of this process has it. */
interface Known {
  readonly owner?: string;
  readonly row?: LockRow;
}

/** A row of which nothing is known but that it is there. */
const THERE: Known = {};

/**
 * What this process remembers of locks, to spare statements; the database alone decides. By name and not by owner: a
 * name comes again and again, each owner once, and a map that always has new keys costs a crowd a thirtieth of its time.
 */
export class Memory {
  readonly #rows = new LruMap<string, Known>(SIZE);
  readonly #contended = new LruMap<string, string>(SIZE);

  /** The row of an acquisition as last answered: with it a renewal needs one number of the server only. */
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

  /** Forgets an acquisition; its row stays. */
  forget({ name, owner }: OwnedLock): void {
    if (this.#rows.get(name)?.owner === owner) this.#rows.set(name, THERE);
  }

  /** Whether the name was last seen held by another: there a look costs less than a try, and says who has it. */
  isContended(name: string): boolean {
    return this.#contended.has(name);
  }

  /** Whether the name was last seen held by an acquisition of this process. */
  isOurs(name: string): boolean {
    const owner = this.#contended.get(name);
    return owner !== undefined && this.#rows.get(name)?.owner === owner;
  }

  /** Remembers that a name was seen held, and by which owner, if that is known. */
  noteContended(name: string, owner?: string | null): void {
    this.#contended.set(name, owner ?? SOMEBODY);
    if (!this.#rows.has(name)) this.#rows.set(name, THERE);
  }

  /** Remembers that a name was seen free. */
  noteFree(name: string): void {
    this.#contended.delete(name);
  }
}
