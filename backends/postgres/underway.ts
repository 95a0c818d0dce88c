/** Names that a statement is under way for. The server would grant a name twice to the same connection. */
export class Underway {
  readonly #over = new Map<string, Promise<unknown>>();

  /** Whether a statement is under way for a name. */
  has(name: string): boolean {
    return this.#over.has(name);
  }

  /** Sends what `work` sends for a name once nothing else is under way for it. */
  async alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    while (this.#over.has(name)) await this.#over.get(name);
    return await this.together([{ name }], work);
  }

  /** Sends what `work` sends for names that nothing is under way for. */
  together<T>(requests: readonly { readonly name: string }[], work: () => Promise<T>): Promise<T> {
    const running = work();
    const over = running.catch(() => {}).then(() => {
      for (const { name } of requests) this.#over.delete(name);
    });
    for (const { name } of requests) this.#over.set(name, over);
    return running;
  }
}
