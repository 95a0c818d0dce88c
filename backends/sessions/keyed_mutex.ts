import { inParts } from "../../core/util/requests.ts";

/** One statement at a time for each name: the server would grant a lock twice to the same connection. */
export class KeyedMutex {
  /** Sets of names, each with the end of its work. A map of single names would spend a batch's time on deletions. */
  readonly #underWay = new Map<ReadonlySet<string>, Promise<unknown>>();

  /** Runs `work` once no other work for the name is under way. */
  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    for (let over = this.#over(name); over !== undefined; over = this.#over(name)) await over;
    return await this.#start(new Set([name]), work);
  }

  /**
   * Runs `work` once for all requests whose names are idle, each name once, and later for every other request by itself.
   * Returns the results in the order of the requests.
   */
  async runEach<Request extends { readonly name: string }, Result>(
    requests: readonly Request[],
    work: (requests: readonly Request[]) => Promise<readonly Result[]>,
  ): Promise<Result[]> {
    const names = new Set<string>();
    const isLater = ({ name }: Request) => {
      const isRepeated = names.has(name);
      names.add(name);
      return isRepeated || this.#over(name) !== undefined;
    };
    const start = (now: readonly Request[]) => this.#start(new Set(now.map(({ name }) => name)), () => work(now));
    return await inParts(requests, isLater, start, (later) => {
      return Promise.all(later.map(async (one) => (await this.run(one.name, () => work([one])))[0]));
    });
  }

  #over(name: string): Promise<unknown> | undefined {
    for (const [names, over] of this.#underWay) if (names.has(name)) return over;
    return undefined;
  }

  #start<T>(names: ReadonlySet<string>, work: () => Promise<T>): Promise<T> {
    const running = work();
    this.#underWay.set(names, running.catch(() => {}).then(() => this.#underWay.delete(names)));
    return running;
  }
}
