/** Ways to reach the same thing, such as the hosts of a URL, of which one is used at a time. */
export class Rotation<T> {
  readonly #items: readonly T[];
  #index = 0;

  /** @param items At least one. */
  constructor(items: ReadonlyArray<T>) {
    this.#items = items;
  }

  /** How many there are. */
  get count(): number {
    return this.#items.length;
  }

  /** The one that is used. */
  get current(): T {
    return this.#items[this.#index];
  }

  /** Its place. */
  get index(): number {
    return this.#index;
  }

  /** Goes on to the next one, unless another caller has done so since `index` was used. */
  leave(index: number): void {
    if (this.#index === index) this.#index = (index + 1) % this.count;
  }
}
