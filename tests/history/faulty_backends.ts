/**
 * Backends that lie on purpose, each in one way, around a real one: what the checker must catch.
 *
 * @module
 */
import {
  type AcquireAnswer,
  type Backend,
  BackendError,
  closeLocks,
  type LockRef,
  type LockRow,
} from "@lockmgr/lockmgr";

/** A backend that passes everything on, but for what is given. */
function around(real: Backend, lies: Partial<Backend>): Backend {
  const backend: Backend = {
    engine: real.engine,
    mode: real.mode,
    queueing: real.queueing,
    acquire: (requests, options) => real.acquire(requests, options),
    renew: (requests) => real.renew(requests),
    release: (targets) => real.release(targets),
    list: (filter) => real.list(filter),
    clean: (scope) => real.clean(scope),
    watch: real.watch && ((name, wake) => real.watch!(name, wake)),
    [Symbol.asyncDispose]: () => closeLocks(backend, async () => await real[Symbol.asyncDispose]()),
    ...lies,
  };
  return backend;
}

/** The row of an answer, altered. */
function alter(answer: AcquireAnswer, lie: (row: LockRow) => Partial<LockRow>): AcquireAnswer {
  return answer.granted ? { ...answer, row: { ...answer.row, ...lie(answer.row) } } : answer;
}

/** Says the truth. */
export function honest(real: Backend): Backend {
  return around(real, {});
}

/** Once a lease has lapsed, it grants the name to the next two who ask. */
export function grantsTwiceAfterExpiry(real: Backend): Backend {
  let lapsesAt = Infinity;
  const owners = new Set<LockRef["owner"]>();
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      return answers.map((answer, index): AcquireAnswer => {
        if (answer.granted && lapsesAt === Infinity) lapsesAt = answer.row.lockedUntil!;
        if (answer.granted || answer.holder!.createdAt < lapsesAt) return answer;
        const { name, owner, lockedBy } = requests[index];
        owners.add(owner);
        return { granted: true, row: { ...answer.holder!, name, lockedBy, token: answer.holder!.token + 1n } };
      });
    },
    release: async (locks) => (await real.release(locks)).map((done, index) => done || owners.has(locks[index].owner)),
  });
}

/** Forgets with the clean-up which tokens it gave out, as one that deletes the rows would. */
export function repeatsTokensAfterCleanUp(real: Backend): Backend {
  let last = 0n;
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      return answers.map((answer) => alter(answer, () => ({ token: ++last })));
    },
    clean(scope) {
      last = 0n;
      return real.clean(scope);
    },
  });
}

/** Tells a holder of more time than the database gives it, so that it hears too late that it is over. */
export function tellsLossLate(real: Backend): Backend {
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      return answers.map((answer) => alter(answer, ({ lockedUntil }) => ({ lockedUntil: lockedUntil! + 400_000 })));
    },
  });
}

/** Releases by name, whoever holds it. */
export function releasesForStrangers(real: Backend): Backend {
  return around(real, { release: (targets) => real.release(targets.map(({ name }) => ({ name, owner: null }))) });
}

/** Renews by name, whoever holds it. */
export function renewsForStrangers(real: Backend): Backend {
  return around(real, { renew: (requests) => real.renew(requests.map((one) => ({ ...one, owner: null }))) });
}

/** Takes several names one after the other, and leaves what it has when one is busy. */
export function leavesOneBehind(real: Backend): Backend {
  return around(real, {
    async acquire(requests, { allOrNothing = false } = {}) {
      const answers = await real.acquire(requests);
      if (!allOrNothing || answers.every(({ granted }) => granted)) return answers;
      return answers.map((answer) => answer.granted ? { granted: false, holder: undefined } : answer);
    },
  });
}

/** Says busy to those who wait, long after the release. */
export function starvesWaiters(real: Backend): Backend {
  let until = -Infinity;
  return around(real, {
    async acquire(requests, options) {
      if (performance.now() > until) return await real.acquire(requests, options);
      return requests.map(() => ({ granted: false, holder: undefined }));
    },
    async release(targets) {
      until = performance.now() + 700;
      return await real.release(targets);
    },
  });
}

/** Says that a lock was granted, and writes nothing. */
export function losesGrants(real: Backend): Backend {
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      await real.release(requests.map(({ name, owner }) => ({ name, owner })));
      return answers;
    },
  });
}

/** Takes its time for every answer. */
export function answersLate(real: Backend): Backend {
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      if (answers.every(({ granted }) => granted)) return answers;
      await new Promise((resolve) => setTimeout(resolve, 800));
      return answers;
    },
  });
}

/** Takes a lock for ten minutes, tells its caller of an error, and does not give it back. */
export function failsAfterGrant(real: Backend): Backend {
  return around(real, {
    async acquire(requests, options) {
      await real.acquire(requests.map((request) => ({ ...request, duration: 600e6 })), options);
      throw new BackendError("Cannot get an answer", { cause: new Error("the connection was closed") });
    },
    release: (targets) => Promise.resolve(targets.map(() => true)),
  });
}

/** Says busy of names that no client holds. */
export function refusesFreeNames(real: Backend): Backend {
  return around(real, {
    acquire: (requests) => Promise.resolve(requests.map(() => ({ granted: false, holder: undefined }))),
  });
}

/** Refuses the name to the first waiter until another client has been granted it. */
export function overtakesWaiters(real: Backend): Backend {
  let first: string | undefined;
  let isOvertaken = false;
  return around(real, {
    async acquire(requests, options) {
      const [{ name, owner, window }] = requests;
      if (owner === first && !isOvertaken) return [{ granted: false, holder: undefined, position: 1 }];
      const [answer] = await real.acquire(requests, options);
      if (answer.granted) isOvertaken = first !== undefined;
      else if (window !== undefined && first === undefined) {
        first = owner;
        await real.release([{ name, owner }]);
      }
      return [answer];
    },
  });
}

/** Never tells a waiter that a release has granted it the name. */
export function losesHandOffs(real: Backend): Backend {
  const waiting = new Set<string>();
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      return answers.map((answer, index): AcquireAnswer => {
        const { owner } = requests[index];
        if (!answer.granted && answer.position !== undefined) waiting.add(owner);
        return answer.granted && waiting.has(owner) ? { granted: false, holder: undefined, position: 1 } : answer;
      });
    },
  });
}

/** Lets readers in while a writer holds the name. */
export function admitsReadersToWriter(real: Backend): Backend {
  const forReaders = <T extends { readonly name: string }>(one: T): T => ({ ...one, name: `${one.name}, readers` });
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests.map((one) => one.limit > 1 ? forReaders(one) : one), options);
      return answers.map((answer, index) => {
        const { name, limit } = requests[index];
        return alter(answer, ({ token }) => ({ name, token: token + (limit > 1 ? 1n : 0n) }));
      });
    },
    async release(targets) {
      const released = await real.release(targets);
      const readers = await real.release(targets.map(forReaders));
      return released.map((done, index) => done || readers[index]);
    },
  });
}

/** Leaves those in the queue who have given up. */
export function leavesWaitersBehind(real: Backend): Backend {
  const granted = new Set<string>();
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      for (const [index, answer] of answers.entries()) if (answer.granted) granted.add(requests[index].owner);
      return answers;
    },
    release: (targets) =>
      Promise.all(targets.map(async (target) => {
        return granted.has(String(target.owner)) && (await real.release([target]))[0];
      })),
  });
}

/** Lists names in the order of their UTF-16 units. */
export function listsByUnits(real: Backend): Backend {
  return around(real, {
    list: async (filter) => (await real.list(filter)).sort((one, other) => one.name < other.name ? -1 : 1),
  });
}

/** Leaves the time of the grant where that of the last renewal belongs. */
export function keepsTimeOfUpdate(real: Backend): Backend {
  return around(real, {
    renew: async (requests) => (await real.renew(requests)).map((row) => row && { ...row, updatedAt: row.createdAt }),
    list: async (filter) => (await real.list(filter)).map((row) => ({ ...row, updatedAt: row.createdAt })),
  });
}

/** Extends what an owner has when it asks for several names, one of which is busy. */
export function extendsWhenRefused(real: Backend): Backend {
  return around(real, {
    async acquire(requests, options) {
      const answers = await real.acquire(requests, options);
      const refused = answers.some(({ granted }) => !granted);
      if (options?.allOrNothing && refused) {
        await real.renew(requests.map(({ name, owner, duration }) => ({ name, owner, from: "now", add: duration })));
      }
      return answers;
    },
  });
}
