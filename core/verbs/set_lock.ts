import { acquireSeveral } from "../wait/acquire.ts";
import type { Backend } from "../backend.ts";
import { stateOf } from "../wait/backend_state.ts";
import { backendOf } from "../connect.ts";
import { LockFail } from "../errors.ts";
import { traceRenewals } from "../events/channels.ts";
import type { Grant } from "../grant.ts";
import { Lock } from "../lock/lock.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import {
  checkNames,
  extension,
  requireRows,
  type ResolvedLockOptions,
  resolveLockOptions,
  type SetLockOptions,
} from "../options/options.ts";
import { isExtended } from "../lock/lease.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { byCodePoint } from "../util/order.ts";
import { settled as afterAll } from "../util/requests.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";
import { listRecords } from "./list_locks.ts";

/**
 * What `setLock` did with one name.
 *
 * @example
 * ```ts
 * import { connect, type LockSetStatus, setLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const { statuses } = await setLock("jobs", { backend });
 * const [name, status]: [string, LockSetStatus] = statuses[0];
 * assert.equal(name, "jobs");
 * assert.deepEqual(status, { wasLocked: false, status: "create", locked: true });
 * ```
 */
export interface LockSetStatus {
  /** Whether it was held before. */
  wasLocked: boolean;
  /** What was done: created, extended, or left as it was. */
  status: "create" | "extend" | "skip";
  /** Whether it is held now. */
  locked: boolean;
}

/**
 * How many names `setLock` treated in which way.
 *
 * @example
 * ```ts
 * import { connect, type LockSetCounts, setLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const counts: LockSetCounts = (await setLock(["a", "b"], { backend })).counts;
 * assert.deepEqual(counts, { created: 2, renewed: 0, skipCreate: 0, skipRenew: 0 });
 * ```
 */
export interface LockSetCounts {
  /** Names that were free and are held now. */
  created: number;
  /** Names that were held and were extended. */
  renewed: number;
  /** Names that were free and are still free (`create: false`). */
  skipCreate: number;
  /** Names that were held and were not extended: by `renew: false`, or because `holdAtLeast` keeps them. */
  skipRenew: number;
}

/**
 * The result of `setLock`.
 *
 * @example
 * ```ts
 * import { connect, type LockSetResult, setLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const result: LockSetResult = await setLock(["a", "b", "a"], { backend });
 * assert.equal(result.locks.length, 2);
 * assert.equal(result.statuses.length, 3);
 * ```
 */
export interface LockSetResult {
  /** Each name that is held now, once, in the order given; those created are `Lock` handles. */
  locks: LockRecord[];
  /** How many names were treated in which way. */
  counts: LockSetCounts;
  /** What was done with each name, in the order and with the duplicates given. */
  statuses: [name: string, status: LockSetStatus][];
}

/** How often a name is tried again that was neither free nor held, because it changed hands in between. */
const MAX_ROUNDS = 20;

/** The result for one name that is held now. */
interface Settled extends LockSetStatus {
  record?: LockRecord;
  grant?: Grant;
}

/** The status of a name that was free and still is. */
const LEFT_FREE: LockSetStatus = { wasLocked: false, status: "skip", locked: false };

/**
 * Acquires and renews several locks in one call. Two callers with the same names, in any order, never deadlock.
 *
 * @example
 * ```ts
 * import { connect, setLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const first = await setLock(["hello", "world"], { backend });
 * assert.equal(first.counts.created, 2);
 * const second = await setLock(["hello", "world"], { backend });
 * assert.equal(second.counts.renewed, 2);
 * assert.deepEqual(second.statuses[0], ["hello", { wasLocked: true, status: "extend", locked: true }]);
 * ```
 *
 * @param names One name or several; a repeated name counts as already locked.
 * @param options With `fail: true`, either every name is acquired or nothing changes.
 * @throws {LockFail} With `fail`, when a name is held: then nothing was changed.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} In `session` mode.
 */
export async function setLock(
  names: string | readonly string[],
  options: SetLockOptions = {},
): Promise<LockSetResult> {
  checkVerbOptions("setLock", options);
  const given = checkNames(typeof names === "string" ? [names] : names, "a name, or an array of names");
  const { expires, lockedBy, lockProcess, metadata } = options;
  const resolved = resolveLockOptions({ expires, lockedBy, lockProcess, metadata });
  const backend = await backendOf(options);
  requireRows(backend, "set several locks");
  const unique = [...new Set(given)].sort(byCodePoint); // one order for all clients: no deadlock
  const settled = options.fail
    ? await allOrNothing(backend, unique, resolved, options)
    : await stateOf(backend).track(eachByItself(backend, unique, resolved, options));
  for (const one of settled.values()) if (one.grant) one.record = new Lock(one.grant);
  return report(given, settled, options.renew ?? true);
}

/** Acquires every name, or changes nothing. */
async function allOrNothing(
  backend: Backend,
  names: string[],
  resolved: ResolvedLockOptions,
  options: SetLockOptions,
): Promise<Map<string, Settled>> {
  if (options.create === false) {
    const [held] = await listRecords(backend, { names });
    if (held) throw new LockFail(held.name, held);
    return new Map();
  }
  const { grants, busy, askedAt } = await acquireSeveral(backend, names, resolved, true);
  if (busy.length > 0) {
    const holder = busy.find((answer) => answer.holder)?.holder;
    throw holder ? new LockFail(holder.name, new LockRecord(holder, askedAt)) : new LockFail(names[0]);
  }
  return new Map(grants.map((grant) => [grant.claim.name, created(grant)]));
}

/** Treats every name by itself: acquires a free one, renews a held one, as the options allow. */
async function eachByItself(
  backend: Backend,
  names: string[],
  resolved: ResolvedLockOptions,
  options: SetLockOptions,
): Promise<Map<string, Settled>> {
  const { create = true, renew = true } = options;
  const settled = new Map<string, Settled>();
  try {
    for (let round = 0, open = names; open.length > 0 && round < MAX_ROUNDS; round++) {
      if (create) {
        const { grants } = await acquireSeveral(backend, open, resolved, false);
        for (const grant of grants) settled.set(grant.claim.name, created(grant));
      }
      const held = open.filter((name) => !settled.has(name));
      if (renew) await renewHeld(backend, held, options, settled);
      const left = held.filter((name) => !settled.has(name));
      await listHeld(backend, left, settled, renew); // what is kept by `holdAtLeast` is held, and not renewed
      open = create ? left.filter((name) => !settled.has(name)) : [];
    }
    const { ended } = stateOf(backend);
    if (ended) throw ended;
  } catch (error) {
    // The caller gets no handle: what was created is released again.
    for (const { grant } of settled.values()) if (grant) stateOf(backend).undo.add(grant.claim, null, false);
    throw error;
  }
  return settled;
}

async function renewHeld(
  backend: Backend,
  names: string[],
  options: SetLockOptions,
  settled: Map<string, Settled>,
): Promise<void> {
  if (names.length === 0) return;
  const more = extension({ expires: options.expires });
  const askedAt = monotonic();
  const renew = () => backend.renew(names.map((name) => ({ name, owner: null, ...more })));
  const rows = await traceRenewals(backend, names, () => retryOnce(renew));
  await afterAll(rows.map(async (first, index) => {
    const request = { name: names[index], owner: null, ...more };
    // another transaction has locked its row: it waits for that alone
    const isLocked = first && names.length > 1 && !isExtended(request, first, askedAt);
    const askedAgainAt = isLocked ? monotonic() : askedAt;
    const row = isLocked ? (await retryOnce(() => backend.renew([request])))[0] : first;
    if (!row) return;
    const record = new LockRecord(row, askedAgainAt);
    settled.set(request.name, { wasLocked: true, status: "extend", locked: true, record });
  }));
}

async function listHeld(
  backend: Backend,
  names: string[],
  settled: Map<string, Settled>,
  onlyKept: boolean,
): Promise<void> {
  if (names.length === 0) return;
  for (const record of await listRecords(backend, { names })) {
    if (onlyKept && record.lockedBy !== "") continue;
    settled.set(record.name, { wasLocked: true, status: "skip", locked: true, record });
  }
}

function created(grant: Grant): Settled {
  return { wasLocked: false, status: "create", locked: true, grant };
}

/** Makes the result, in the order given; a name that is not settled was left free. */
function report(given: string[], settled: Map<string, Settled>, renew: boolean): LockSetResult {
  const counts: LockSetCounts = { created: 0, renewed: 0, skipCreate: 0, skipRenew: 0 };
  const statuses: LockSetResult["statuses"] = [];
  const locks = new Set<LockRecord>();
  for (const name of given) {
    const { record, grant: _, ...first }: Settled = settled.get(name) ?? LEFT_FREE;
    const again = renew && first.status !== "skip" ? "extend" : "skip";
    const metAgain: LockSetStatus = { wasLocked: true, status: again, locked: true };
    const status = record && locks.has(record) ? metAgain : first;
    if (record) locks.add(record);
    counts[countOf(status)]++;
    statuses.push([name, status]);
  }
  return { locks: [...locks], counts, statuses };
}

function countOf({ status, wasLocked }: LockSetStatus): keyof LockSetCounts {
  if (status === "create") return "created";
  if (status === "extend") return "renewed";
  return wasLocked ? "skipRenew" : "skipCreate";
}
