import type { AcquireAnswer, AcquireRequest, LockRef, LockRow } from "../../../core/backend.ts";
import { UnsupportedError } from "../../../core/errors.ts";
import { BackendError } from "../../../core/errors.ts";
import { namesOf } from "../../../core/util/requests.ts";
import type { Carrier, Carriers, Share } from "./session_pool.ts";
import { endsConnection, translate } from "../errors.ts";
import { freeLocks, makeSureFree, takeLocks } from "./session_attempt.ts";
import { heldRow } from "./session_rows.ts";

/** A lock that this backend holds. */
export interface Held {
  readonly name: string;
  readonly owner: string;
  readonly row: LockRow;
  /** The name on the server. */
  readonly digest: string;
  readonly carrier: Carrier;
}

/** All outcomes, once there are all; then the first error, if there is one. */
async function all<T>(outcomes: readonly Promise<T>[], onError?: () => Promise<void>): Promise<T[]> {
  const settled = await Promise.allSettled(outcomes);
  const failed = settled.find((outcome) => outcome.status === "rejected");
  if (failed === undefined) return settled.map((outcome) => (outcome as PromiseFulfilledResult<T>).value);
  await onError?.();
  throw failed.reason;
}

/** Locks, each once, by the connection that they ride on. */
function byCarrier(locks: readonly (Held | undefined)[]): [Carrier, Held[]][] {
  const each = new Set(locks.filter((held) => held !== undefined));
  return [...Map.groupBy(each, ({ carrier }) => carrier)];
}

/** The session locks that this process holds, taken and freed by the hundred: one statement for all on one connection. */
export class SessionLocks {
  readonly #carriers: Carriers;
  readonly #held = new Map<string, Held>();
  /** Names that are being asked for: the server would let the same connection in twice. */
  readonly #asking = new Set<string>();

  constructor(carriers: Carriers) {
    this.#carriers = carriers;
  }

  /** The names that are held. */
  get names(): string[] {
    return [...this.#held.keys()];
  }

  /** A lock of this process whose connection still lives. */
  find(name: string): Held | undefined {
    const held = this.#held.get(name);
    if (!held?.carrier.connection.ended) return held;
    this.#forget(held);
    return undefined;
  }

  /** Takes each that is free. Nothing is asked for that this process has, or asks for already. */
  async take(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const wanted: AcquireRequest[] = [];
    const known = requests.map((request) => {
      const answer = this.#known(request);
      if (answer === undefined) {
        this.#asking.add(request.name);
        wanted.push(request);
      }
      return answer;
    });
    if (wanted.length === 0) return known as AcquireAnswer[];
    try {
      const answers = (await this.#ask(wanted)).values();
      return known.map((answer) => answer ?? answers.next().value!);
    } finally {
      for (const { name } of wanted) this.#asking.delete(name);
    }
  }

  /** Takes all of them or none. */
  async takeAll(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const before = requests.map((request) => this.#own(request) !== undefined);
    const answers = await this.take(requests);
    if (answers.every(({ granted }) => granted)) return answers;
    await this.#giveBack(requests.filter((_, index) => answers[index].granted && !before[index]));
    return answers.map((answer) => answer.granted ? { granted: false, holder: undefined } : answer);
  }

  /** What can be said of a request without asking. */
  #known({ name, owner }: AcquireRequest): AcquireAnswer | undefined {
    const held = this.find(name);
    if (held?.owner === owner) return { granted: true, row: held.row, lifeline: held.carrier.connection };
    return held || this.#asking.has(name) ? { granted: false, holder: held?.row } : undefined;
  }

  async #ask(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const what = `acquire ${namesOf(requests)}`;
    const digests = await this.#carriers.digests(requests.map(({ name }) => name));
    await this.#requireNoDoubt(what, requests);
    const shares = await this.#carriers.reserve(requests.length, what);
    let from = 0;
    const parts = shares.map((share) => {
      const [first, next] = [from, from += share.places];
      return this.#askOn(what, share, requests.slice(first, next), digests.slice(first, next));
    });
    if (parts.length === 1) return await parts[0];
    return (await all(parts, () => this.#giveBack(requests))).flat();
  }

  /** A connection that was given up may still have what an earlier request was granted: then "held" would not be so. */
  async #requireNoDoubt(what: string, requests: readonly AcquireRequest[]): Promise<void> {
    if (!requests.some(({ repeated }) => repeated)) return;
    await this.#carriers.roomy(what);
    if (!this.#carriers.inDoubt) return;
    throw new BackendError(`Cannot ${what}: a connection that was lost has not ended at the server`, {
      retryable: true,
    });
  }

  async #askOn(
    what: string,
    { carrier }: Share,
    requests: readonly AcquireRequest[],
    digests: readonly string[],
  ): Promise<AcquireAnswer[]> {
    const { connection } = carrier;
    let free = requests.length;
    try {
      const { tokens, stoppedClock } = carrier;
      const { taken, clock, token } = await takeLocks(what, connection, digests, stoppedClock, tokens);
      return requests.map((request, index) => {
        if (!taken[index]) return { granted: false, holder: undefined };
        free--;
        const { name, owner } = request;
        const row = heldRow(request, token, clock, connection.id);
        this.#held.set(name, { name, owner, row, digest: digests[index], carrier });
        return { granted: true, row, lifeline: connection };
      });
    } finally {
      carrier.load -= free;
    }
  }

  /** Gives back what was granted of requests that failed as a whole: their caller would not know of it. */
  async #giveBack(requests: readonly AcquireRequest[]): Promise<void> {
    const granted = requests.map((request) => this.#own(request));
    await Promise.all(
      byCarrier(granted).map(async ([{ connection }, some]) => {
        await makeSureFree(connection, some.map(({ digest }) => digest));
        for (const held of some) this.#forget(held);
      }),
    );
  }

  /** Frees each that its owner holds. */
  async free(targets: readonly LockRef[]): Promise<boolean[]> {
    if (targets.some(({ owner }) => owner === null)) {
      throw new UnsupportedError('Cannot release by name in "session" mode: it has no row; want "lease" or "hybrid"');
    }
    const own = targets.map((target) => this.#own(target));
    const freed = new Set<Held>();
    await all(
      byCarrier(own).map(async ([carrier, some]) => {
        const answers = await this.#freeOn(carrier, some);
        some.forEach((held, index) => answers[index] && freed.add(held));
      }),
    );
    return own.map((held) => held !== undefined && freed.delete(held)); // what is named twice is freed once
  }

  async #freeOn({ connection }: Carrier, some: readonly Held[]): Promise<boolean[]> {
    try {
      const freed = await freeLocks(connection, some.map(({ digest }) => digest));
      for (const held of some) this.#forget(held);
      return freed;
    } catch (error) {
      if (connection.ended || endsConnection(error)) { for (const held of some) this.#forget(held); }
      throw translate(`release ${namesOf(some)}`, error);
    }
  }

  /** What the owner holds of the name. */
  #own({ name, owner }: LockRef): Held | undefined {
    const held = this.find(name);
    return held?.owner === owner ? held : undefined;
  }

  #forget(held: Held): void {
    if (this.#held.get(held.name) !== held) return;
    this.#held.delete(held.name);
    held.carrier.load--;
  }
}
