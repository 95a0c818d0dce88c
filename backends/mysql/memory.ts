import type { LockRow } from "../../core/backend.ts";

/** How many entries each memory keeps: beyond it the oldest is forgotten, which costs one more statement. */
const SIZE = 16_384;

/** Puts an entry into a map of bounded size. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > SIZE) map.delete(map.keys().next().value!);
}

/** What this process remembers of locks, to spare statements; the database alone decides. */
export class Memory {
  readonly #granted = new Map<string, LockRow>();
  readonly #contended = new Map<string, true>();

  /** The row of an acquisition as last answered: with it a renewal needs one number of the server only. */
  granted(owner: string): LockRow | undefined {
    return this.#granted.get(owner);
  }

  /** Remembers the row of an acquisition. */
  noteGranted(owner: string, row: LockRow): void {
    remember(this.#granted, owner, row);
  }

  /** Forgets an acquisition. */
  forget(owner: string): void {
    this.#granted.delete(owner);
  }

  /** Whether the name was last seen held by another: there a look costs less than a try, and says who has it. */
  isContended(name: string): boolean {
    return this.#contended.has(name);
  }

  /** Remembers that a name was seen held by another. */
  noteContended(name: string): void {
    remember(this.#contended, name, true);
  }

  /** Remembers that a name was seen free. */
  noteFree(name: string): void {
    this.#contended.delete(name);
  }
}
