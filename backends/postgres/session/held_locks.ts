import type { AcquireAnswer, AcquireRequest, LockRow } from "../../../core/backend.ts";
import { grantedRow } from "../../../core/granted_row.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import type { Row } from "../rows/rows.ts";
import type { Session } from "./session.ts";

/** One lock of this process, and the row as the server would have it at its time `now`, which was `since` here (ms, monotonic). */
export interface Held {
  readonly name: string;
  readonly key: string;
  readonly session: Session;
  readonly owner: string;
  readonly row: LockRow;
  readonly since: number;
}

/** What the server said as it granted something: a token, its clock (µs), and when that came here (ms, monotonic). */
export interface Stamp {
  readonly token: bigint;
  readonly now: number;
  readonly since: number;
}

/** Reads what the server said. */
export function stampOf({ token, now }: Row): Stamp {
  return { token: BigInt(token!), now: Number(now), since: monotonic() };
}

/** The row of a lock, with the server's clock carried on until now. */
export function rowOf({ row, since }: Held): LockRow {
  return { ...row, now: row.now + (monotonic() - since) * 1e3 };
}

/** The session locks that this process holds. */
export class HeldLocks {
  readonly #held = new Map<string, Held>();

  /** The names that are held. */
  get names(): string[] {
    return [...this.#held.keys()];
  }

  /** A lock of this process that is still there. */
  find(name: string): Held | undefined {
    const held = this.#held.get(name);
    if (held?.session.ended === undefined) return held;
    this.#held.delete(name);
    return undefined;
  }

  /** A lock of this process, whether or not it is still there. */
  known(name: string): Held | undefined {
    return this.#held.get(name);
  }

  /** Enters a lock that a session has been granted. */
  enter(session: Session, key: string, request: AcquireRequest, { token, now, since }: Stamp): AcquireAnswer {
    const { name, owner } = request;
    const row = grantedRow(request, token, now, session.pid);
    this.#held.set(name, { name, key, session, owner, row, since });
    return { granted: true, row, session };
  }

  /** Forgets a lock that is released. */
  remove(name: string): void {
    this.#held.delete(name);
  }
}
