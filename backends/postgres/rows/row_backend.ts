import { namesOf } from "../../../core/util/requests.ts";
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
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import { closeLocks } from "../../../core/wait/close_locks.ts";
import { BackendError } from "../../../core/errors.ts";
import type { AbandonedConnections } from "../connection/abandoned.ts";
import { Acquirer } from "./acquire.ts";
import { closeAdvisorySessions } from "../advisory/sessions.ts";
import type { Client } from "../connection/client.ts";
import { guardOn } from "./guard.ts";
import { RowSender } from "./row_sender.ts";
import { toLockRow } from "./rows.ts";
import { release } from "./release.ts";
import { Renewer } from "./renew.ts";
import type { Statements } from "./statements.ts";
import type { Voucher } from "../session/voucher.ts";
import type { Waiters } from "../wakeup/waiters.ts";

/** What a backend with rows is made of. */
export interface RowBackendParts {
  /** How it keeps its locks. */
  readonly mode: Mode;
  /** What statements go through. */
  readonly client: Client;
  /** What renewals go through, which must not wait for anything else. */
  readonly renewals: Client;
  /** The SQL for its table. */
  readonly statements: Statements;
  /** Wakes those who wait, where the server can. */
  readonly waiters?: Waiters;
  /** The session that vouches for hybrid locks. */
  readonly vouch?: () => Promise<Voucher>;
  /** Tells whose connections hold and wait for names. */
  readonly observe: (names: readonly string[]) => Promise<LockActivity[]>;
  /** Looks at what the server means for locks. */
  readonly diagnose: () => Promise<Diagnostic[]>;
  /** Ends at the server what was given up. */
  readonly abandoned?: AbandonedConnections | undefined;
  /** Makes sure of the table again, after somebody dropped it. */
  readonly restore: () => Promise<void>;
  /** Closes what else was opened. */
  readonly close: () => Promise<void>;
}

/** Locks as rows of a table: leases, and with a voucher hybrid locks. */
export class RowBackend implements Backend {
  readonly engine = "postgres";
  readonly mode: Mode;
  readonly watch: Backend["watch"];
  readonly #parts: RowBackendParts;
  readonly #sql: Statements;
  readonly #sender: RowSender;
  readonly #renewing: Renewer;
  readonly #acquiring: Acquirer;
  readonly #closing = new AbortController();

  constructor(parts: RowBackendParts) {
    this.mode = parts.mode;
    this.#parts = parts;
    this.#sql = parts.statements;
    const { signal: closing } = this.#closing;
    this.#sender = new RowSender(parts.client, parts.restore, closing);
    this.#renewing = new Renewer(new RowSender(parts.renewals, parts.restore, closing), this.#sql);
    this.#acquiring = new Acquirer(this.#sender, parts.statements, parts.vouch);
    const { waiters } = parts;
    this.watch = waiters && ((name, wake) => waiters.add(name, () => (this.#acquiring.noteFree(name), wake())));
  }

  async acquire(
    requests: readonly AcquireRequest[],
    { allOrNothing = false }: { readonly allOrNothing?: boolean } = {},
  ): Promise<AcquireAnswer[]> {
    if (this.#closing.signal.aborted) {
      throw new BackendError(`Cannot acquire ${namesOf(requests)}: the backend was disposed of`);
    }
    return await (allOrNothing ? this.#acquiring.takeAll(requests) : this.#acquiring.takeEach(requests));
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return this.#renewing.renew(requests);
  }

  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const freed = await release(this.#sender, this.#sql, targets);
    targets.forEach(({ name }, index) => freed[index] && this.#acquiring.noteReleased(name));
    return freed;
  }

  async list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    const rows = names
      ? await this.#sender.send(() => "list locks", this.#sql.listNames, [JSON.stringify(names)])
      : await this.#sender.send(() => "list locks", this.#sql.list, [prefix, String(includeExpired)]);
    return rows.map(toLockRow);
  }

  async clean(scope: "expired" | "all"): Promise<number> {
    const [what, statement] = scope === "all"
      ? ["remove every lock", this.#sql.cleanAll]
      : ["clean up expired locks", this.#sql.cleanExpired];
    const [row] = await this.#sender.send(() => what, statement, []);
    return Number(row.cleaned);
  }

  async guard({ name, owner }: OwnedLock, client: unknown): Promise<boolean> {
    const rows = await guardOn(client, `guard lock ${JSON.stringify(name)}`, this.#sql.guard, [name, owner]);
    return rows.length > 0;
  }

  observe(names: readonly string[]): Promise<LockActivity[]> {
    return this.#parts.observe(names);
  }

  diagnose(): Promise<Diagnostic[]> {
    return this.#parts.diagnose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeLocks(this, async () => {
      this.#closing.abort(new BackendError("Cannot go on: the backend was disposed of"));
      await closeAdvisorySessions(this);
      await this.#parts.waiters?.close(); // those who wait try once more, and hear that it is over
      await this.#parts.close();
      await Promise.all([this.#parts.renewals.close(), this.#parts.client.close()]);
      await this.#parts.abandoned?.close();
    });
  }
}
