import { type Backend, BackendError } from "@lockmgr/lockmgr";
import { around } from "./wrapping.ts";

/** What happens to the next requests of one verb: the answer is lost, the request is, or neither ever comes. */
export type Fault = "lose the answer" | "lose the request" | "hang";

/** A verb of a backend that can fail. */
type Verb = "acquire" | "renew" | "release" | "list" | "clean";

/** A real backend behind a connection that fails on demand. */
export interface Faulty {
  /** The backend to use. */
  readonly backend: Backend;
  /** Faults that the next requests of a verb meet, in order; a request beyond them goes through. */
  readonly faults: Record<Verb, Fault[]>;
  /** How many requests of a verb were made. */
  readonly asked: Record<Verb, number>;
  /** Lets every request that hangs fail. */
  unref(): void;
}

/** Puts a failing connection in front of a backend. */
export function faulty(real: Backend): Faulty {
  const faults: Faulty["faults"] = { acquire: [], renew: [], release: [], list: [], clean: [] };
  const asked: Faulty["asked"] = { acquire: 0, renew: 0, release: 0, list: 0, clean: 0 };
  const hanging = new Set<() => void>();
  const broken = () =>
    new BackendError("Cannot reach the database: connection reset", { cause: "test", retryable: true });
  const through = async <T>(verb: Verb, request: () => Promise<T>): Promise<T> => {
    asked[verb]++;
    const fault = faults[verb].shift();
    if (fault === "lose the request") throw broken();
    if (fault === "hang") await new Promise<void>((_, reject) => hanging.add(() => reject(broken())));
    const answer = await request();
    if (fault === "lose the answer") throw broken();
    return answer;
  };
  const backend = around(real, {
    acquire: (requests, options) => through("acquire", () => real.acquire(requests, options)),
    renew: (requests) => through("renew", () => real.renew(requests)),
    release: (targets) => through("release", () => real.release(targets)),
    list: (filter) => through("list", () => real.list(filter)),
    clean: (scope) => through("clean", () => real.clean(scope)),
    watch: (name, wake) => real.watch!(name, wake),
  });
  return { backend, faults, asked, unref: () => hanging.forEach((fail) => fail()) };
}
