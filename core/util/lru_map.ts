/**
 * A map of bounded size, for what may be forgotten: it keeps the entries that were set or read last, at least as many
 * as `limit` and at most twice as many. Two maps that take turns, and hardly any deletion: the tables that a map grows
 * out of point to each other, so that one which is deleted from all the time carries what it held into the old
 * generation of the heap (a fifth of the time of a crowd).
 */
export class LruMap<Key, Value extends NonNullable<unknown>> {
  readonly #limit: number;
  readonly #keeps: (value: Value) => boolean;
  #recent = new Map<Key, Value>();
  #before = new Map<Key, Value>();
  #full: number;

  /** @param keeps Which entries may not be forgotten, however many there are. */
  constructor(limit: number, keeps: (value: Value) => boolean = () => false) {
    this.#limit = this.#full = limit;
    this.#keeps = keeps;
  }

  /** The value of a key, `undefined` if there is none or it was forgotten. */
  get(key: Key): Value | undefined {
    const value = this.#recent.get(key);
    if (value !== undefined) return value;
    const older = this.#before.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  /** Whether there is a value. */
  has(key: Key): boolean {
    return this.get(key) !== undefined;
  }

  /** Sets a value; others may be forgotten. */
  set(key: Key, value: Value): void {
    this.#recent.set(key, value);
    if (this.#recent.size > this.#full) this.#turn();
  }

  /** The values that are kept, some of them twice. */
  *values(): Iterable<Value> {
    yield* this.#recent.values();
    yield* this.#before.values();
  }

  /** Forgets a key. */
  delete(key: Key): void {
    this.#recent.delete(key);
    this.#before.delete(key);
  }

  #turn(): void {
    const dropped = this.#before;
    this.#before = this.#recent;
    this.#recent = new Map();
    for (const [key, value] of dropped) {
      if (!this.#before.has(key) && this.#keeps(value)) this.#recent.set(key, value);
    }
    this.#full = Math.max(this.#limit, 2 * this.#recent.size);
  }
}
