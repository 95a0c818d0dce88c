/** Names that a statement is under way for. The server would grant a name twice to the same connection. */
export class KeyedMutex {
  /** When that is over which is under way for one name, and for several: there are hundreds of these, in one or two sets. */
  readonly #over = new Map<string, Promise<unknown>>();
  readonly #crowds = new Map<ReadonlySet<string>, Promise<unknown>>();

  /** When the statement is over that is under way for a name. */
  over(name: string): Promise<unknown> | undefined {
    for (const [names, over] of this.#crowds) if (names.has(name)) return over;
    return this.#over.get(name);
  }

  /** Sends what `work` sends for a name once nothing else is under way for it. */
  async alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    for (let over = this.over(name); over !== undefined; over = this.over(name)) await over;
    const running = work();
    this.#over.set(name, running.catch(() => {}).then(() => this.#over.delete(name)));
    return await running;
  }

  /** Sends what `work` sends for names that nothing is under way for. */
  together<T>(names: ReadonlySet<string>, work: () => Promise<T>): Promise<T> {
    const running = work();
    this.#crowds.set(names, running.catch(() => {}).then(() => this.#crowds.delete(names)));
    return running;
  }
}
