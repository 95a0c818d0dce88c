import type {
  AcquireAnswer,
  AcquireRequest,
  LockRef,
  LockRow,
  NextHolder,
  OwnedLock,
  RenewRequest,
} from "../../../core/backend.ts";
import type { Connection } from "../connection/connection.ts";
import type { SqliteRow } from "../rows/rows.ts";
import type { Statements } from "../rows/statements.ts";
import { changeOwner, isKept, isLive, isMeant, join, leave, type Line } from "../../shared/line.ts";
import { answerTo, renewal } from "../../shared/line_answers.ts";
import { lineOf, valuesOf } from "./stored_line.ts";

/** Serves the names that have a queue, or holders that admit others. All but `preview` run in a write transaction. */
export class Queue {
  readonly #connection: Connection;
  readonly #sql: Statements;

  constructor(connection: Connection, sql: Statements) {
    this.#connection = connection;
    this.#sql = sql;
  }

  /**
   * Computes the answer to a request, if nothing has to be written for it, and whether it would grant a lock to any client
   * or confirm one, which is written durably. Changes nothing.
   */
  preview(request: AcquireRequest): { answer: AcquireAnswer | undefined; grants: boolean } {
    const { line, now } = this.#read(request.name);
    const joined = join(line, request, now);
    const answer = joined.line === line ? answerTo(request, line, joined.mine, now, this.#connection.file) : undefined;
    return { answer, grants: joined.grants };
  }

  /** Acquires the name, or stands in its line if the request has a window. */
  acquire(request: AcquireRequest): AcquireAnswer {
    const { line, now } = this.#read(request.name);
    const joined = join(line, request, now);
    if (joined.line !== line) this.#store(request.name, joined.line, now);
    return answerTo(request, joined.line, joined.mine, now, this.#connection.file);
  }

  /**
   * Removes holders, or a waiter by its owner; returns whether a holder was removed, and `undefined` if none was because
   * one of them has more time left than `most` (µs).
   */
  release(target: LockRef, most: number): boolean | undefined {
    const { line, now } = this.#read(target.name);
    const isGone = isMeant(target);
    const gone = line.entries.filter((entry) => isLive(entry, now) && isGone(entry));
    const { owner, keep } = target;
    if (gone.length === 0) return keep !== undefined && line.entries.some(isKept(String(owner), now));
    if (gone.some(({ until }) => (until ?? Infinity) - now > most)) return undefined;
    this.#store(target.name, leave(line, now, isGone, keep), now);
    return gone.some(({ token }) => token !== undefined);
  }

  /** Gives a holder's lock to another owner. */
  adopt({ name, owner }: OwnedLock, next: NextHolder): void {
    const { line, now } = this.#read(name);
    const changed = changeOwner(line, now, owner, next);
    if (changed !== line) this.#store(name, changed, now);
  }

  /** Extends holders; returns the first of them. */
  renew(request: RenewRequest): LockRow | undefined {
    const { line, now } = this.#read(request.name);
    const { line: extended, row } = renewal(line, request, now);
    if (row) this.#store(request.name, extended, now);
    return row;
  }

  /** Removes the holders of all names with a queue, or those that have expired, and serves their waiters. */
  clean(scope: "expired" | "all"): number {
    let cleaned = 0;
    for (const { name } of this.#connection.prepare(this.#sql.selectQueues).all() as { name: string }[]) {
      const { line, now } = this.#read(name);
      const holders = line.entries.filter(({ token }) => token !== undefined);
      const gone = holders.filter((entry) => scope === "all" || !isLive(entry, now));
      if (gone.length === 0) continue;
      this.#store(name, leave(line, now, (entry) => gone.includes(entry)), now);
      cleaned += gone.length;
    }
    return cleaned;
  }

  /** Reads a line, and the clock. */
  #read(name: string): { line: Line; now: number } {
    const row = this.#connection.prepare(this.#sql.selectLine).get(name) as SqliteRow;
    return { line: lineOf(row), now: Number(row.now) };
  }

  #store(name: string, line: Line, now: number): void {
    if (line.entries.length > 0) this.#connection.run(this.#sql.storeLine, ...valuesOf(name, line));
    else this.#connection.run(this.#sql.free, String(line.token), now, now, name);
  }
}
