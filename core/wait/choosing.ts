/** What has a request for a name. */
interface Named {
  readonly request: { readonly name: string };
}

/** Sorts by name; who came first stays first. */
function byName({ request: one }: Named, { request: two }: Named): number {
  return one.name < two.name ? -1 : one.name > two.name ? 1 : 0;
}

/**
 * Chooses the first of those who wait, as many as `limit`, each name once, in the order in which everybody locks rows;
 * and tells who goes on waiting.
 */
export function choose<T extends Named>(waiting: readonly T[], limit: number): [chosen: T[], others: T[]] {
  const first = waiting.slice(0, limit).sort(byName);
  const twice = first.some(({ request }, index) => index > 0 && request.name === first[index - 1].request.name);
  return twice ? chooseOfEachName(waiting, limit) : [first, waiting.slice(limit)];
}

/** The same where a name is wanted more than once: the others with that name go on waiting. */
function chooseOfEachName<T extends Named>(waiting: readonly T[], limit: number): [chosen: T[], others: T[]] {
  const chosen = new Map<string, T>();
  const others: T[] = [];
  for (const one of waiting) {
    const { name } = one.request;
    if (chosen.size < limit && !chosen.has(name)) chosen.set(name, one);
    else others.push(one);
  }
  return [[...chosen.values()].sort(byName), others];
}
