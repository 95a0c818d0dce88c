import type { LockRow } from "../../core/backend.ts";
import { BoundedMap } from "../../core/bounded_map.ts";

/** How many entries each memory keeps: beyond it the oldest is forgotten, which costs one more statement. */
const SIZE = 16_384;

/** The owner of a name that was seen held by somebody unknown. */
const SOMEBODY = "";

/** What this process remembers of locks, to spare statements; the database alone decides. */
export class Memory {
  readonly #granted = new BoundedMap<string, LockRow>(SIZE);
  readonly #contended = new BoundedMap<string, string>(SIZE);
  readonly #rows = new BoundedMap<string, true>(SIZE);

  /** The row of an acquisition as last answered: with it a renewal needs one number of the server only. */
  granted(owner: string): LockRow | undefined {
    return this.#granted.get(owner);
  }

  /** Remembers the row of an acquisition. */
  noteGranted(owner: string, row: LockRow): void {
    this.#granted.set(owner, row);
    this.#rows.set(row.name, true);
  }

  /** Whether the name was seen to have a row. */
  hasRow(name: string): boolean {
    return this.#rows.has(name);
  }

  /** Remembers that the name has no row. */
  noteRowless(name: string): void {
    this.#rows.delete(name);
  }

  /** Forgets an acquisition. */
  forget(owner: string): void {
    this.#granted.delete(owner);
  }

  /** Whether the name was last seen held by another: there a look costs less than a try, and says who has it. */
  isContended(name: string): boolean {
    return this.#contended.has(name);
  }

  /** Whether the name was last seen held by an acquisition of this process. */
  isOurs(name: string): boolean {
    return this.#granted.has(this.#contended.get(name) ?? SOMEBODY);
  }

  /** Remembers that a name was seen held, and by which owner, if that is known. */
  noteContended(name: string, owner?: string | null): void {
    this.#contended.set(name, owner ?? SOMEBODY);
    this.#rows.set(name, true);
  }

  /** Remembers that a name was seen free. */
  noteFree(name: string): void {
    this.#contended.delete(name);
  }
}
