/**
 * A backend over etcd 3.4 or newer, through its JSON gateway: `connect("etcd://a:2379,b:2379,c:2379")`. A lock is a key
 * with an etcd lease of its own; each change is a transaction that compares the key's revision; the token is the revision
 * that created the key. etcd rounds leases up to whole seconds, by default to 2 at least, and keeps the name that long.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, Backend, ConnectOptions, ListFilter } from "@lockmgr/lockmgr";
import { BackendError, closeLocks, registerEngine, UnsupportedError } from "@lockmgr/lockmgr";
import type { LockRef, LockRow, RenewRequest } from "@lockmgr/lockmgr";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

const ANSWER_WITHIN_MS = 2_000; // a node that has not answered by then counts as down
const END_WITHIN_MS = 500; // a disposal aborts what is still under way then
const RETRY_US = 100_000; // when to ask again for a holder that has expired
const PERMANENT_S = 9_000_000_000; // etcd's longest lease, for a lock that never expires
const MOST_READS = 128; // in one transaction, by etcd's default settings
/** Codes of gRPC. Cancelled, deadline exceeded, too many requests, internal and unavailable may have taken effect. */
const UNKNOWN_OUTCOME = [1, 4, 8, 13, 14];
const [NOT_FOUND, FAILED_PRECONDITION] = [5, 9];

/** A key's value; its `writer` wrote it at its monotonic time `writtenAt` (ms), `updatedAt` by the first writer's clock. */
type Value = Readonly<{ row: Omit<LockRow, "token">; owner: string; writer: string; writtenAt: number }>;
/** A key, and what the gateway answers. */
type Pair = Readonly<Record<"value" | "lease" | "create_revision" | "mod_revision", string>>;
interface Answer extends Partial<Record<"kvs" | "prev_kvs", Pair[]> & Record<"TTL" | "grantedTTL", string>> {
  readonly responses?: readonly { readonly response_range: Pick<Answer, "kvs"> }[];
  readonly succeeded?: boolean;
  readonly header: { readonly revision: string };
}
/** A lock that was read at the client's monotonic time (ms) that is the row's `now`. */
type Held = Readonly<{ pair: Pair; value: Value; row: LockRow; readAt: number }>;

const base64 = (text: string) => Buffer.from(text).toString("base64");
/** In the order of etcd's keys, which are bytes of UTF-8. */
const byCodePoint = (one: string, other: string) => Buffer.compare(Buffer.from(one), Buffer.from(other));

/** The lease of an acquisition: revoking it ends every request of that owner that is still under way. */
const leaseOf = ({ name, owner }: { name: string; owner: string }) =>
  String(createHash("sha256").update(`${name}\0${owner}`).digest().readBigUInt64BE() >> 1n);

/** Waits for all, also if one fails: none is under way when the first error is thrown. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}

/** Whether it is the lock of this owner, or with this token; of any for `null`. */
const isOf = (held: Held | undefined, { owner }: LockRef): held is Held =>
  held !== undefined && [null, held.row.token, held.value.owner].includes(owner);

/** A holder that has expired is looked at again soon: etcd has not ended its lease yet. */
const holderOf = (row?: LockRow) => row && { ...row, now: Math.min(row.now, (row.lockedUntil ?? Infinity) - RETRY_US) };

class EtcdBackend implements Backend {
  readonly engine = "etcd";
  readonly mode = "lease";
  readonly #nodes: string[]; // the one in use first
  readonly #prefix: string;
  readonly #id = crypto.randomUUID();
  readonly #asking = new Set<AbortController>();
  #ended: BackendError | undefined;

  constructor(nodes: string[], prefix: string) {
    [this.#nodes, this.#prefix] = [nodes, prefix];
  }

  async acquire(requests: readonly AcquireRequest[], { allOrNothing = false } = {}): Promise<AcquireAnswer[]> {
    const before = await this.#read(requests);
    if (allOrNothing) return await this.#acquire(requests, before);
    return (await all(requests.map((request, index) => this.#acquire([request], [before[index]])))).flat();
  }

  /** Acquires every name or none, by one transaction. */
  async #acquire(requests: readonly AcquireRequest[], before: readonly (Held | undefined)[]): Promise<AcquireAnswer[]> {
    const isOwn = (held: Held | undefined, index: number) => held?.value.owner === requests[index].owner;
    const answer = (held: readonly (Held | undefined)[]): AcquireAnswer[] =>
      held.every(isOwn)
        ? held.map((each) => ({ granted: true, row: each!.row }))
        : held.map((each, index) => ({ granted: false, holder: isOwn(each, index) ? undefined : holderOf(each?.row) }));
    const stale = requests.filter(({ repeated }, index) => repeated && !isOwn(before[index], index));
    await all(stale.map((request) => this.#revoke(leaseOf(request))));
    if (before.every(isOwn) || before.some((held, index) => held && !isOwn(held, index))) return answer(before);
    const [now, writtenAt] = [Math.round(Date.now() * 1e3), performance.now()];
    const puts = requests.map(({ name, owner, duration, lockedBy, lockProcess, metadata }) => {
      const lockedUntil = duration === null ? null : now + duration;
      const row = { name, lockedBy, lockProcess, metadata, lockedUntil, createdAt: now, updatedAt: now, now };
      return { lease: leaseOf({ name, owner }), value: { row, owner, writer: this.#id, writtenAt } };
    });
    const free = puts.filter((_, index) => before[index] === undefined);
    const revision = await this.#write(requests.map(({ name }, index) => [name, before[index]?.pair]), free);
    const token = revision && BigInt(revision);
    if (token) return puts.map(({ value }, at) => ({ granted: true, row: before[at]?.row ?? { ...value.row, token } }));
    const after = await this.#read(requests); // another client was faster; or this one was, and its answer was lost
    if (!after.every(isOwn)) await all(free.map(({ lease }) => this.#revoke(lease)));
    return answer(after);
  }

  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const present = await this.#read(requests);
    return await all(requests.map((request, index) => this.#renew(request, present[index])));
  }

  async #renew(request: RenewRequest, held: Held | undefined): Promise<LockRow | undefined> {
    if (!isOf(held, request)) return undefined;
    const [{ name, from, add }, { row, value, pair, readAt }] = [request, held];
    if (row.lockedUntil === null) return row;
    const start = from === "now" ? row.now : from === "expiry" ? row.lockedUntil : from;
    const lockedUntil = add === null ? null : start + add;
    if (lockedUntil !== null && lockedUntil <= row.lockedUntil) return row;
    const lease = leaseOf({ name, owner: crypto.randomUUID() });
    const next = { row: { ...value.row, lockedUntil, updatedAt: row.now }, writer: this.#id, writtenAt: readAt };
    const revision = await this.#write([[name, pair]], [{ lease, value: { ...value, ...next } }]);
    const [after] = revision === undefined ? await this.#read([request]) : [];
    if (after?.pair.lease === lease) return after.row; // a first attempt took effect, and its answer was lost
    this.#revoke(revision === undefined ? lease : pair.lease).catch(() => {});
    if (revision === undefined) return await this.#renew(request, after); // it changed meanwhile
    return { ...row, lockedUntil, updatedAt: row.now };
  }

  async release(locks: readonly LockRef[]): Promise<boolean[]> {
    const present = await this.#read(locks);
    return await all(locks.map((lock, index) => this.#release(lock, present[index])));
  }

  async #release(lock: LockRef, held: Held | undefined): Promise<boolean> {
    if (!isOf(held, lock)) return false;
    const deletion = { request_delete_range: { key: this.#key(lock.name) } };
    const revision = await this.#transact([[lock.name, held.pair]], [deletion], false);
    if (revision === undefined) return (await this.release([lock]))[0]; // it was renewed meanwhile
    this.#revoke(held.pair.lease).catch(() => {});
    return true;
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const wanted = names && [...new Set(names)].filter((name) => name.startsWith(prefix)).sort(byCodePoint);
    if (wanted) return (await this.#read(wanted.map((name) => ({ name })))).flatMap((held) => held?.row ?? []);
    const { kvs = [] } = await this.#ask("kv/range", this.#range(prefix));
    return (await all(kvs.map((pair) => this.#held(pair)))).map(({ row }) => row);
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    if (scope === "expired") return 0; // etcd removes them by itself
    const { prev_kvs = [] } = await this.#ask("kv/deleterange", { ...this.#range(""), prev_kv: true }, false);
    for (const { lease } of prev_kvs) this.#revoke(lease).catch(() => {});
    return prev_kvs.length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      const until = performance.now() + END_WITHIN_MS;
      const pause = () => new Promise((resolve) => setTimeout(resolve, 2));
      while (this.#asking.size > 0 && performance.now() < until) await pause(); // an answer may lead to a next request
      this.#ended = new BackendError("Cannot ask etcd: the backend was disposed of");
      for (const asking of this.#asking) asking.abort(this.#ended);
      while (this.#asking.size > 0) await pause();
    });
  }

  readonly #key = (name: string) => base64(this.#prefix + name);

  /** All keys whose names begin so. */
  #range(prefix: string): { key: string; range_end: string } {
    const end = Buffer.from(this.#prefix + prefix);
    end[end.length - 1]++;
    return { key: this.#key(prefix), range_end: end.toString("base64") };
  }

  /** Reads what is held of the names, in one request for many. */
  async #read(locks: readonly { readonly name: string }[]): Promise<(Held | undefined)[]> {
    const [first, rest] = [locks.slice(0, MOST_READS), locks.slice(MOST_READS)];
    if (rest.length > 0) return [...await this.#read(first), ...await this.#read(rest)];
    const success = first.map(({ name }) => ({ request_range: { key: this.#key(name) } }));
    const { responses = [] } = await this.#ask("kv/txn", { success });
    return await all(responses.map(async ({ response_range: { kvs } }) => kvs && await this.#held(kvs[0])));
  }

  /** Reads how old a lease is: this client's own by its clock, another's by etcd's whole seconds, rounded up. */
  async #held(pair: Pair): Promise<Held> {
    const value: Value = JSON.parse(Buffer.from(pair.value, "base64").toString());
    const readAt = performance.now();
    let age = Math.ceil((readAt - value.writtenAt) * 1e3);
    if (value.writer !== this.#id) {
      const { TTL = 0, grantedTTL = 0 } = await this.#ask("lease/timetolive", { ID: pair.lease });
      age = (Number(grantedTTL) - Math.max(0, Number(TTL))) * 1e6;
    }
    const row = { ...value.row, token: BigInt(pair.create_revision), now: value.row.updatedAt + age };
    return { pair, value, row, readAt };
  }

  /** Changes keys unless one is no longer what it was when it was read; returns the revision of the changes. */
  async #transact(was: [string, Pair?][], success: unknown[], repeatable = true): Promise<string | undefined> {
    const compare = was.map(([name, at]) => ({ key: this.#key(name), target: "MOD", mod_revision: at?.mod_revision }));
    const { succeeded, header } = await this.#ask("kv/txn", { compare, success }, repeatable);
    return succeeded ? header.revision : undefined;
  }

  /** The same, for values under leases of their own. */
  async #write(was: [string, Pair?][], writes: readonly { lease: string; value: Value }[]) {
    await all(writes.map(async ({ lease, value: { row: { lockedUntil, updatedAt } } }) => {
      const TTL = lockedUntil === null ? PERMANENT_S : Math.max(1, Math.ceil((lockedUntil - updatedAt) / 1e6));
      await this.#ask("lease/grant", { ID: lease, TTL: String(TTL) }, true, FAILED_PRECONDITION);
    }));
    const puts = writes.map(({ lease, value }) => ({
      request_put: { lease, key: this.#key(value.row.name), value: base64(JSON.stringify(value)) },
    }));
    return await this.#transact(was, puts);
  }

  /** Revokes a lease. Without a key, it may as well expire. */
  readonly #revoke = (lease: string) => this.#ask("lease/revoke", { ID: lease }, true, NOT_FOUND);

  /** Asks one node, and if it is down the next; a request that must not be repeated only one. */
  async #ask(path: string, body: unknown, repeatable = true, harmless?: number): Promise<Answer> {
    for (let tries = repeatable ? this.#nodes.length : 1;; tries--) {
      if (this.#ended) throw this.#ended;
      const [node] = this.#nodes;
      const asking = new AbortController();
      const timer = setTimeout(() => asking.abort(new Error("it does not answer")), ANSWER_WITHIN_MS);
      const request = { method: "POST", body: JSON.stringify(body), signal: asking.signal };
      this.#asking.add(asking);
      let [reason, retryable, cause]: [string, boolean, unknown?] = ["", true];
      try {
        const response = await fetch(`http://${node}/v3/${path}`, request);
        const answer = await response.json();
        if (response.ok || answer.code === harmless) return answer;
        [reason, retryable] = [answer.message ?? answer.error, UNKNOWN_OUTCOME.includes(answer.code)];
      } catch (error) {
        [reason, cause] = [(error as Error).message, error];
      } finally {
        clearTimeout(timer);
        this.#asking.delete(asking);
      }
      const error = new BackendError(`Cannot ask etcd on ${node} (${path}): ${reason}`, { retryable, cause });
      if (retryable && node === this.#nodes[0]) this.#nodes.push(this.#nodes.shift()!);
      if (!retryable || tries === 1) throw this.#ended ?? error;
    }
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
