/**
 * A backend over etcd 3.4 or newer, through its JSON gateway: `connect("etcd://a:2379,b:2379,c:2379")`. A lock is a key
 * with an etcd lease of its own; each change is a transaction that compares the key's revision; the token is the revision
 * that created the key. etcd has leases of whole seconds, with its default settings 2 at least: it keeps the name of a
 * shorter one that long.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, Backend, ConnectOptions, ListFilter } from "@lockmgr/lockmgr";
import { BackendError, closeLocks, registerEngine, UnsupportedError } from "@lockmgr/lockmgr";
import type { LockRef, LockRow, RenewRequest } from "@lockmgr/lockmgr";

/** A node that has not answered by then (ms) counts as down. */
const ANSWER_WITHIN_MS = 2_000;
/** A disposal waits so long (ms) for what is under way; what it then aborts expires. */
const END_WITHIN_MS = 500;
/** A holder that has expired, but that etcd still has, is looked at again after so long (µs). */
const OVERDUE_US = 100_000;
/** The longest lease of etcd (s), for a lock that never expires. */
const PERMANENT_S = 9_000_000_000;
/** gRPC's codes: cancelled, deadline exceeded, too many requests, internal and unavailable may have taken effect. */
const UNKNOWN_OUTCOME = [1, 4, 8, 13, 14];
const NOT_FOUND = 5;
const FAILED_PRECONDITION = 9;

/** What the value of a key says. Times are µs by the clock of the client that acquired it: etcd's cannot be read. */
interface Value extends Omit<LockRow, "name" | "token" | "now" | "session"> {
  readonly owner: string;
  /** The client that wrote it, and its monotonic time (ms) at `updatedAt`. */
  readonly writer: string;
  readonly writtenAt: number;
}
/** A key, in the fields of the gateway. */
type Pair = Readonly<Record<"key" | "value" | "lease" | "create_revision" | "mod_revision", string>>;
interface Held {
  readonly pair: Pair;
  readonly value: Value;
  readonly row: LockRow;
  /** This client's monotonic time (ms) at the row's `now`. */
  readonly readAt: number;
}

const bytesOf = (text: string) => new TextEncoder().encode(text);
const base64 = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const textOf = (base64: string) =>
  new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
const secondsOf = (duration: number | null) => duration === null ? PERMANENT_S : Math.max(1, Math.ceil(duration / 1e6));
const unchanged = ({ pair: { key, mod_revision } }: Held) => ({ key, target: "MOD", mod_revision });

/** The lease of an acquisition: revoking it ends every request of that owner that is still under way. */
async function leaseOf({ name, owner }: { name: string; owner: string }): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", bytesOf(`${name}\0${owner}`));
  return String((new DataView(hash).getBigUint64(0) >> 1n) | 1n);
}

/** Waits for all, also if one fails: none is under way when the first error is thrown. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}

function refused(held?: Held): AcquireAnswer {
  if (held === undefined) return { granted: false, holder: undefined };
  const { now, lockedUntil } = held.row;
  const holder = { ...held.row, now: lockedUntil === null ? now : Math.min(now, lockedUntil - OVERDUE_US) };
  return { granted: false, holder };
}

class EtcdBackend implements Backend {
  readonly engine = "etcd";
  readonly mode = "lease";
  readonly #nodes: readonly string[];
  readonly #prefix: string;
  readonly #id = crypto.randomUUID();
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #asking = new Set<AbortController>();
  #ended: BackendError | undefined;
  #node = 0;

  constructor(nodes: readonly string[], prefix: string) {
    this.#nodes = nodes;
    this.#prefix = prefix;
  }

  async acquire(requests: readonly AcquireRequest[], { allOrNothing = false } = {}): Promise<AcquireAnswer[]> {
    const groups = allOrNothing ? [requests] : requests.map((request) => [request]);
    return (await this.#track(all(groups.map((group) => this.#acquire(group))))).flat();
  }

  /** Acquires every name or none, by one transaction. */
  async #acquire(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const leases = await Promise.all(requests.map(leaseOf));
    const read = () => all(requests.map(({ name }) => this.#read(name)));
    const before = await read();
    const isOwn = (held: Held | undefined, index: number) => held?.value.owner === requests[index].owner;
    await all(leases.filter((_, index) => requests[index].repeated && !isOwn(before[index], index)).map(this.#revoke));
    const answer = (held: readonly (Held | undefined)[]): AcquireAnswer[] =>
      held.every(isOwn)
        ? held.map((each) => ({ granted: true, row: each!.row }))
        : held.map((each, index) => refused(isOwn(each, index) ? undefined : each));
    if (before.every(isOwn) || before.some((held, index) => held && !isOwn(held, index))) return answer(before);
    const [now, writtenAt] = [Math.round(Date.now() * 1e3), performance.now()];
    const wanted = requests.map(({ name, duration, owner, lockedBy, lockProcess, metadata }, index) => {
      const times = { createdAt: now, updatedAt: now, lockedUntil: duration === null ? null : now + duration };
      return { lease: leases[index], owner, row: { name, lockedBy, lockProcess, metadata, ...times } };
    });
    const free = wanted.filter((_, index) => before[index] === undefined);
    await all(free.map(({ lease, row }) => this.#grant(lease, row.lockedUntil && row.lockedUntil - now)));
    const puts = free.map(({ lease, owner, row: { name, ...row } }) =>
      this.#put(name, lease, { ...row, owner, writtenAt })
    );
    const absent = free.map(({ row }) => ({ key: this.#key(row.name), target: "CREATE", create_revision: "0" }));
    const revision = await this.#transact([...absent, ...before.flatMap((held) => held ? unchanged(held) : [])], puts);
    if (revision !== undefined) {
      const token = BigInt(revision);
      return wanted.map(({ row }, index) => ({ granted: true, row: before[index]?.row ?? { ...row, token, now } }));
    }
    const after = await read(); // another client was faster; or a first attempt took effect, and its answer was lost
    if (!after.every(isOwn)) await all(free.map(({ lease }) => this.#revoke(lease)));
    return answer(after);
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return this.#track(all(requests.map((request) => this.#renew(request))));
  }

  async #renew({ name, owner, from, add }: RenewRequest): Promise<LockRow | undefined> {
    const held = await this.#readOf(name, owner);
    if (held === undefined) return undefined;
    const { row, value, pair, readAt } = held;
    if (row.lockedUntil === null) return row;
    const start = from === "now" ? row.now : from === "expiry" ? row.lockedUntil : from;
    const lockedUntil = add === null ? null : start + add;
    if (lockedUntil !== null && lockedUntil <= row.lockedUntil) return row;
    const lease = String(crypto.getRandomValues(new BigUint64Array(1))[0] >> 1n);
    const next = { ...value, lockedUntil, updatedAt: row.now, writtenAt: readAt };
    await this.#grant(lease, lockedUntil === null ? null : lockedUntil - row.now);
    const revision = await this.#transact([unchanged(held)], [this.#put(name, lease, next)]);
    const after = revision === undefined ? await this.#read(name) : undefined;
    if (after?.pair.lease === lease) return after.row; // a first attempt took effect, and its answer was lost
    this.#revokeLater(revision === undefined ? lease : pair.lease);
    if (revision === undefined) return await this.#renew({ name, owner, from, add }); // it changed meanwhile
    return { ...row, lockedUntil, updatedAt: row.now };
  }

  release(locks: readonly LockRef[]): Promise<boolean[]> {
    return this.#track(all(locks.map((lock) => this.#release(lock))));
  }

  async #release(lock: LockRef): Promise<boolean> {
    const held = await this.#readOf(lock.name, lock.owner);
    if (held === undefined) return false;
    const deletion = { request_delete_range: { key: held.pair.key } };
    if (await this.#transact([unchanged(held)], [deletion], false) === undefined) return await this.#release(lock);
    this.#revokeLater(held.pair.lease);
    return true;
  }

  list(filter: ListFilter): Promise<LockRow[]> {
    return this.#track(this.#list(filter));
  }

  async #list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const each = names &&
      await all([...new Set(names)].filter((name) => name.startsWith(prefix)).sort().map((name) => this.#read(name)));
    if (each) return each.flatMap((held) => held?.row ?? []);
    const { kvs = [] } = await this.#ask<{ kvs?: Pair[] }>("kv/range", this.#range(prefix));
    return (await all(kvs.map((pair) => this.#held(pair)))).map(({ row }) => row);
  }

  clean(scope: "expired" | "all"): Promise<number> {
    return scope === "all" ? this.#track(this.#clean()) : Promise.resolve(0); // etcd removes the expired by itself
  }

  async #clean(): Promise<number> {
    const body = { ...this.#range(""), prev_kv: true };
    const { prev_kvs = [] } = await this.#ask<{ prev_kvs?: Pair[] }>("kv/deleterange", body, false);
    for (const { lease } of prev_kvs) this.#revokeLater(lease);
    return prev_kvs.length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      const timer = setTimeout(() => this.#end(), END_WITHIN_MS);
      while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
      clearTimeout(timer);
      this.#end();
    });
  }

  /** Aborts what etcd has not answered, and refuses to ask more. */
  #end(): void {
    this.#ended = new BackendError("Cannot ask etcd: the backend was disposed of");
    for (const asking of this.#asking) asking.abort(this.#ended);
  }

  /** Makes the disposal wait for work, which may take several requests. */
  #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    const done = () => this.#underWay.delete(work);
    work.then(done, done);
    return work;
  }

  #key(name: string): string {
    return base64(bytesOf(this.#prefix + name));
  }

  /** All keys whose names begin so. */
  #range(prefix: string): { key: string; range_end: string } {
    const end = bytesOf(this.#prefix + prefix);
    end[end.length - 1]++;
    return { key: this.#key(prefix), range_end: base64(end) };
  }

  async #read(name: string): Promise<Held | undefined> {
    const { kvs } = await this.#ask<{ kvs?: Pair[] }>("kv/range", { key: this.#key(name) });
    return kvs && await this.#held(kvs[0]);
  }

  /** Reads a lock if it is of this owner, or has this token; of any for `null`. */
  async #readOf(name: string, owner: LockRef["owner"]): Promise<Held | undefined> {
    const held = await this.#read(name);
    return owner === null || [held?.row.token, held?.value.owner].includes(owner) ? held : undefined;
  }

  /** Reads how old a lease is: this client's own by its clock, another's by etcd's whole seconds, rounded up. */
  async #held(pair: Pair): Promise<Held> {
    const { owner, writer, writtenAt, ...value }: Value = JSON.parse(textOf(pair.value));
    const readAt = performance.now();
    let age = Math.ceil((readAt - writtenAt) * 1e3);
    if (writer !== this.#id) {
      const body = { ID: pair.lease };
      const { TTL = "0", grantedTTL = "0" } = await this.#ask<Record<string, string>>("lease/timetolive", body);
      age = (Number(grantedTTL) - Math.max(0, Number(TTL))) * 1e6;
    }
    const name = textOf(pair.key).slice(this.#prefix.length);
    const row = { ...value, name, token: BigInt(pair.create_revision), now: value.updatedAt + age };
    return { pair, row, readAt, value: { ...value, owner, writer, writtenAt } };
  }

  #put(name: string, lease: string, value: Omit<Value, "writer">): { request_put: Record<string, string> } {
    const text = JSON.stringify({ ...value, writer: this.#id });
    return { request_put: { key: this.#key(name), lease, value: base64(bytesOf(text)) } };
  }

  /** Returns the revision of the changes; `undefined` if a comparison failed and nothing changed. */
  async #transact(compare: unknown[], success: unknown[], repeatable = true): Promise<string | undefined> {
    type Answer = { succeeded?: boolean; header: { revision: string } };
    const { succeeded, header } = await this.#ask<Answer>("kv/txn", { compare, success }, repeatable);
    return succeeded ? header.revision : undefined;
  }

  async #grant(lease: string, duration: number | null): Promise<void> {
    await this.#ask("lease/grant", { ID: lease, TTL: String(secondsOf(duration)) }, true, FAILED_PRECONDITION);
  }

  readonly #revoke = async (lease: string): Promise<void> => {
    await this.#ask("lease/revoke", { ID: lease }, true, NOT_FOUND);
  };

  /** Revokes a lease that has no key any more: if it fails, the lease expires. */
  #revokeLater(lease: string): void {
    this.#track(this.#revoke(lease)).catch(() => {});
  }

  /** Asks one node, and if it is down the next; a request that must not be repeated only one. */
  async #ask<T>(path: string, body: unknown, repeatable = true, harmless?: number): Promise<T> {
    for (let tries = repeatable ? this.#nodes.length : 1;; tries--) {
      if (this.#ended) throw this.#ended;
      const node = this.#node;
      const asking = new AbortController();
      this.#asking.add(asking);
      try {
        return await ask(this.#nodes[node], path, body, asking, harmless) as T;
      } catch (error) {
        if (!(error as BackendError).retryable) throw error;
        if (this.#node === node) this.#node = (node + 1) % this.#nodes.length;
        if (tries === 1) throw error;
      } finally {
        this.#asking.delete(asking);
      }
    }
  }
}

async function ask(node: string, path: string, body: unknown, asking: AbortController, harmless?: number) {
  const timer = setTimeout(() => asking.abort(new Error("it does not answer")), ANSWER_WITHIN_MS);
  const request = { method: "POST", body: JSON.stringify(body), signal: asking.signal };
  const failure = (reason: string, retryable: boolean, cause?: unknown) =>
    new BackendError(`Cannot ask etcd on ${node} (${path}): ${reason}`, { retryable, cause });
  try {
    const response = await fetch(`http://${node}/v3/${path}`, request);
    const answer = await response.json();
    if (response.ok || answer.code === harmless) return answer;
    throw failure(answer.message ?? answer.error, UNKNOWN_OUTCOME.includes(answer.code));
  } catch (error) {
    throw error instanceof BackendError ? error : failure((error as Error).message, true, error);
  } finally {
    clearTimeout(timer);
  }
}

/** Opens `etcd://HOST:PORT,HOST:PORT`. The option `table`, or `?lockmgr_table=` in the URL, is the prefix of the keys. */
export function etcdBackend(target: string, { mode = "lease", table }: ConnectOptions = {}): Backend {
  const [, nodes, , inUrl] = /^etcd:\/\/([^/?#@]+)\/?(\?lockmgr_table=([\w.]+))?$/.exec(target) ?? [];
  if (nodes === undefined) throw new TypeError("Cannot connect to etcd: want etcd://HOST:PORT,HOST:PORT");
  if (mode !== "lease") throw new UnsupportedError(`Cannot use mode "${mode}" on etcd: want "lease"`);
  return new EtcdBackend(nodes.split(","), `${table ?? inUrl ?? "lockmgr_locks"}/`);
}

registerEngine("etcd:", { open: etcdBackend });
