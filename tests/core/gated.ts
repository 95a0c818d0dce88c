import type { Backend } from "@lockmgr/lockmgr";
import { around } from "./wrapping.ts";

/** A verb that is batched. */
type Verb = "acquire" | "renew" | "release";

/** A real backend behind a gate: what passes is written down, can be held up, and can fail by what it asks for. */
export interface Gated {
  /** The backend to use. */
  readonly backend: Backend;
  /** The names of every request of a verb, in the order in which they were sent. */
  readonly sent: Record<Verb, string[][]>;
  /** Throws what a request shall fail with, before it reaches the database. */
  readonly refuse: Partial<Record<Verb, (names: string[]) => void>>;
  /** Holds up the next request of a verb; the promise resolves when it has come, with what lets it pass. */
  holdUp(verb: Verb): Promise<() => void>;
}

/** Puts a gate in front of a backend. */
export function gated(real: Backend): Gated {
  const sent: Gated["sent"] = { acquire: [], renew: [], release: [] };
  const refuse: Gated["refuse"] = {};
  const gates: Record<Verb, ((pass: () => void) => void)[]> = { acquire: [], renew: [], release: [] };
  const through = async <T>(verb: Verb, requests: readonly { name: string }[], send: () => Promise<T>): Promise<T> => {
    const names = requests.map(({ name }) => name);
    sent[verb].push(names);
    const gate = gates[verb].shift();
    if (gate) await new Promise<void>(gate);
    refuse[verb]?.(names);
    return await send();
  };
  const backend = around(real, {
    acquire: (requests, options) => through("acquire", requests, () => real.acquire(requests, options)),
    renew: (requests) => through("renew", requests, () => real.renew(requests)),
    release: (targets) => through("release", targets, () => real.release(targets)),
    list: (filter) => real.list(filter),
    clean: (scope) => real.clean(scope),
    watch: (name, wake) => real.watch!(name, wake),
  });
  const holdUp = (verb: Verb) => new Promise<() => void>((resolve) => gates[verb].push(resolve));
  return { backend, sent, refuse, holdUp };
}
