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
const OVERDUE_US = 100_000; // when to ask again for a holder that has expired
const PERMANENT_S = 9_000_000_000; // etcd's longest lease, for a lock that never expires
/** Codes of gRPC. Cancelled, deadline exceeded, too many requests, internal and unavailable may have taken effect. */
const UNKNOWN_OUTCOME = [1, 4, 8, 13, 14];
const [NOT_FOUND, FAILED_PRECONDITION] = [5, 9];

/** A key's value; its `writer` wrote it at its monotonic time `writtenAt` (ms), `updatedAt` by the first writer's clock. */
type Value = Readonly<{ row: Omit<LockRow, "token" | "now">; owner: string; writer: string; writtenAt: number }>;
/** A key, and what the gateway answers. */
type Pair = Readonly<Record<"value" | "lease" | "create_revision" | "mod_revision", string>>;
interface Answer extends Partial<Record<"kvs" | "prev_kvs", Pair[]> & Record<"TTL" | "grantedTTL", string>> {
  readonly succeeded?: boolean;
  readonly header: { readonly revision: string };
}
/** A lock that was read at the client's monotonic time (ms) that is the row's `now`. */
type Held = Readonly<{ pair: Pair; value: Value; row: LockRow; readAt: number }>;

/** In the order of etcd's keys, which are bytes of UTF-8. */
const byCodePoint = (one: string, other: string) => Buffer.compare(Buffer.from(one), Buffer.from(other));

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** The lease of an acquisition: revoking it ends every request of that owner that is still under way. */
const leaseOf = ({ name, owner }: { name: string; owner: string }) =>
  String(createHash("sha256").update(`${name}\0${owner}`).digest().readBigUInt64BE() >> 1n);

/** Waits for all, also if one fails: none is under way when the first error is thrown. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}

/** A holder that has expired is looked at again soon: etcd has not ended its lease yet. */
const holderOf = (row?: LockRow) =>
  row && { ...row, now: Math.min(row.now, (row.lockedUntil ?? Infinity) - OVERDUE_US) };

class EtcdBackend implements Backend {
  readonly engine = "etcd";
  readonly mode = "lease";
  readonly #nodes: string[]; // the one in use first
  readonly #prefix: string;
  readonly #id = crypto.randomUUID();
  readonly #asking = new Set<AbortController>();
  #ended: BackendError | undefined;

  constructor(nodes: string[], prefix: string) {
    this.#nodes = nodes;
    this.#prefix = prefix;
  }

  async acquire(requests: readonly AcquireRequest[], { allOrNothing = false } = {}): Promise<AcquireAnswer[]> {
    const groups = allOrNothing ? [requests] : requests.map((request) => [request]);
    return (await all(groups.map((group) => this.#acquire(group)))).flat();
  }

  /** Acquires every name or none, by one transaction. */
  async #acquire(requests: readonly AcquireRequest[]): Promise<AcquireAnswer[]> {
    const read = () => all(requests.map(({ name }) => this.#read(name)));
    const isOwn = (held: Held | undefined, index: number) => held?.value.owner === requests[index].owner;
    const answer = (held: readonly (Held | undefined)[]): AcquireAnswer[] =>
      held.every(isOwn)
        ? held.map((each) => ({ granted: true, row: each!.row }))
        : held.map((each, index) => ({ granted: false, holder: isOwn(each, index) ? undefined : holderOf(each?.row) }));
    const before = await read();
    const stale = requests.filter(({ repeated }, index) => repeated && !isOwn(before[index], index));
    await all(stale.map((request) => this.#revoke(leaseOf(request))));
    if (before.every(isOwn) || before.some((held, index) => held && !isOwn(held, index))) return answer(before);
    const [now, writtenAt] = [Math.round(Date.now() * 1e3), performance.now()];
    const writes = requests.map(({ name, owner, duration, lockedBy, lockProcess, metadata }) => {
      const lockedUntil = duration === null ? null : now + duration;
      const row = { name, lockedBy, lockProcess, metadata, lockedUntil, createdAt: now, updatedAt: now };
      return { lease: leaseOf({ name, owner }), value: { row, owner, writer: this.#id, writtenAt } };
    });
    const free = writes.filter((_, index) => before[index] === undefined);
    const revision = await this.#write(requests.map(({ name }, index) => [name, before[index]?.pair]), free);
    if (revision !== undefined) {
      const granted = { token: BigInt(revision), now };
      return writes.map(({ value }, at) => ({ granted: true, row: before[at]?.row ?? { ...value.row, ...granted } }));
    }
    const after = await read(); // another client was faster; or a first attempt took effect, and its answer was lost
    if (!after.every(isOwn)) await all(free.map(({ lease }) => this.#revoke(lease)));
    return answer(after);
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return all(requests.map((request) => this.#renew(request)));
  }

  async #renew({ name, owner, from, add }: RenewRequest): Promise<LockRow | undefined> {
    const held = await this.#read(name, owner);
    if (held === undefined) return undefined;
    const { row, value, pair, readAt } = held;
    if (row.lockedUntil === null) return row;
    const start = from === "now" ? row.now : from === "expiry" ? row.lockedUntil : from;
    const lockedUntil = add === null ? null : start + add;
    if (lockedUntil !== null && lockedUntil <= row.lockedUntil) return row;
    const lease = leaseOf({ name, owner: crypto.randomUUID() });
    const next = { row: { ...value.row, lockedUntil, updatedAt: row.now }, writer: this.#id, writtenAt: readAt };
    const revision = await this.#write([[name, pair]], [{ lease, value: { ...value, ...next } }]);
    const after = revision === undefined ? await this.#read(name) : undefined;
    if (after?.pair.lease === lease) return after.row; // a first attempt took effect, and its answer was lost
    this.#revoke(revision === undefined ? lease : pair.lease).catch(() => {});
    if (revision === undefined) return await this.#renew({ name, owner, from, add }); // it changed meanwhile
    return { ...row, lockedUntil, updatedAt: row.now };
  }

  release(locks: readonly LockRef[]): Promise<boolean[]> {
    return all(locks.map((lock) => this.#release(lock)));
  }

  async #release(lock: LockRef): Promise<boolean> {
    const held = await this.#read(lock.name, lock.owner);
    if (held === undefined) return false;
    const deletion = { request_delete_range: { key: this.#key(lock.name) } };
    const revision = await this.#transact([[lock.name, held.pair]], [deletion], false);
    if (revision === undefined) return await this.#release(lock); // it was renewed meanwhile
    this.#revoke(held.pair.lease).catch(() => {});
    return true;
  }

  async list({ names, prefix = "" }: ListFilter): Promise<LockRow[]> {
    const wanted = names && [...new Set(names)].filter((name) => name.startsWith(prefix)).sort(byCodePoint);
    if (wanted) return (await all(wanted.map((name) => this.#read(name)))).flatMap((held) => held?.row ?? []);
    const { kvs = [] } = await this.#ask("kv/range", this.#range(prefix));
    return (await all(kvs.map((pair) => this.#held(pair)))).map(({ row }) => row);
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    if (scope === "expired") return 0; // etcd removes them by itself
    const body = { ...this.#range(""), prev_kv: true };
    const { prev_kvs = [] } = await this.#ask("kv/deleterange", body, false);
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

  /** Reads a lock: of this owner, or with this token; of any for `null`. */
  async #read(name: string, owner: LockRef["owner"] = null): Promise<Held | undefined> {
    const { kvs } = await this.#ask("kv/range", { key: this.#key(name) });
    const held = kvs && await this.#held(kvs[0]);
    return owner === null || [held?.row.token, held?.value.owner].includes(owner) ? held : undefined;
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
  readonly #revoke = async (lease: string): Promise<void> => {
    await this.#ask("lease/revoke", { ID: lease }, true, NOT_FOUND);
  };

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
