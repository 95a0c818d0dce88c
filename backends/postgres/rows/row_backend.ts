import type {
  AcquireAnswer,
  AcquireRequest,
  Backend,
  Diagnostic,
  ListFilter,
  LockActivity,
  LockRef,
  LockRow,
  Mode,
  NextHolder,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { closeAdvisorySessions } from "../advisory/sessions.ts";
import type { Client } from "../connection/client.ts";
import { diagnose } from "../diagnose.ts";
import type { Liveness } from "../../sessions/liveness.ts";
import { Queue } from "../queue/queue.ts";
import type { ServerClock } from "../queue/server_clock.ts";
import type { Waiters } from "../wakeup/waiters.ts";
import { Acquirer } from "./acquire.ts";
import { guardOn } from "./guard.ts";
import { lockActivity } from "./lock_activity.ts";
import { namespaceOf } from "../schema.ts";
import { changeOwner, release } from "./release.ts";
import { renew } from "./renew.ts";
import { LockTable, type TableParts } from "./lock_table.ts";
import { refArrays, toLockRows } from "./rows.ts";

/** How long another connection may take to say whether a lock that `guard` did not find is there (ms). */
const LOOK_MS = 2_000;

/** What a row backend is made of. */
interface RowBackendParts extends TableParts {
  /** How it keeps its locks. */
  readonly mode: Mode;
  readonly table: string;
  /** Sends statements. */
  readonly client: Client;
  /** Sends renewals, which wait for no other statement. */
  readonly renewals: Client;
  readonly clock: ServerClock;
  /** Wakes waiters, where the server can notify. */
  readonly waiters?: Waiters;
  /** Keeps the liveness lock of hybrid locks. */
  readonly liveness?: Liveness;
}

/** Locks as rows of a table: leases, and hybrid locks, whose rows name a liveness lock. */
export class RowBackend implements Backend {
  readonly engine = "postgres";
  readonly mode: Mode;
  readonly queueing = true;
  readonly keeping = true;
  readonly watch: Backend["watch"];
  readonly #parts: RowBackendParts;
  readonly #table: LockTable;
  readonly #renewals: LockTable;
  readonly #queue: Queue;
  readonly #acquirer: Acquirer;
  readonly #closing = new AbortController();

  constructor(parts: RowBackendParts) {
    const { client, renewals, waiters, liveness, clock } = parts;
    this.mode = parts.mode;
    this.#parts = parts;
    this.#table = new LockTable(client, parts, this.#closing.signal);
    this.#renewals = new LockTable(renewals, parts, this.#closing.signal);
    const queue = this.#queue = new Queue(this.#table, clock, liveness, waiters);
    const acquirer = this.#acquirer = new Acquirer(this.#table, queue);
    waiters?.onNotice(namespaceOf(parts.table), (notice) => queue.note(notice));
    this.watch = waiters && ((name, wake) => waiters.add(name, () => (acquirer.noteFree(name), wake())));
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    if (this.#closing.signal.aborted) {
      throw new BackendError(`Cannot acquire ${namesOf(requests)}: the backend was disposed of`);
    }
    return await (allOrNothing ? this.#acquirer.acquireAll(requests) : this.#acquirer.acquireEach(requests));
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return renew(this.#renewals, this.#queue, requests);
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const released = await release(this.#table, this.#queue, targets);
    targets.forEach(({ name, keep }, index) => released[index] && !keep && this.#acquirer.noteReleased(name));
    return released;
  }

  async adopt(lock: OwnedLock, next: NextHolder): Promise<void> {
    await changeOwner(this.#table, () => `adopt ${namesOf([lock])}`, lock, next);
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const wanted = [names ? JSON.stringify(names) : prefix, String(includeExpired)];
    const rows = await this.#table.send(() => "list locks", names ? "listNames" : "list", wanted);
    return rows.flatMap((row) => toLockRows(row, includeExpired));
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const what = () => scope === "all" ? "remove every lock" : "clean up expired locks";
    const [row] = await this.#table.send(what, scope === "all" ? "cleanAll" : "cleanExpired", []);
    let cleaned = Number(row.cleaned);
    for (const { name } of await this.#table.send(what, "selectQueues", [])) {
      cleaned += await this.#queue.clean(name!, scope);
    }
    return cleaned;
  }

  async guard(claim: OwnedLock, client: unknown): Promise<boolean> {
    const what = `guard lock ${JSON.stringify(claim.name)}`;
    const isLive = await guardOn(client, what, this.#parts.statements.guard, [claim.name, claim.owner]);
    if (isLive !== undefined) return isLive;
    const looking = this.#table.send(() => what, "listOwned", refArrays([claim]));
    const rows = await withDeadline(LOOK_MS, looking); // the transaction may have the only connection
    if (rows?.length === 0) return false;
    const reason = rows
      ? "the snapshot of the transaction is older than the lock; want one that begins after it was acquired"
      : "the snapshot of the transaction has no such lock, and no other connection answers; want READ COMMITTED";
    throw new BackendError(`Cannot ${what}: ${reason}`, { retryable: true });
  }

  observe(names: readonly string[]): Promise<LockActivity[]> {
    return lockActivity(this.#parts.client, this.#parts.table, "row", names);
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#parts.client, this.#parts.table, this.mode);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      const { waiters, liveness, renewals, client, abandoned } = this.#parts;
      this.#closing.abort(new BackendError("Cannot go on: the backend was disposed of"));
      await closeAdvisorySessions(this);
      await waiters?.close(); // the next attempt of each waiter fails and says why
      await liveness?.close();
      await Promise.all([renewals.close(), client.close()]);
      await abandoned?.close();
    });
  }
}
