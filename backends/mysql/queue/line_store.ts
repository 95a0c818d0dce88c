import { BackendError } from "../../../core/errors.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { monotonic, sleep } from "../../../core/util/runtime.ts";
import { KeyedMutex } from "../../sessions/keyed_mutex.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import type { Entry, Line } from "../../shared/line.ts";
import type { Answer } from "../connection/row_shapes.ts";
import type { Server } from "../connection/server.ts";
import { isPassingConflict, isRowLocked } from "../errors.ts";
import { type NoWait, SESSION_GONE } from "../rows/acquire_statements.ts";
import type { LockedRows } from "../rows/locked_rows.ts";
import type { LockTable, Repeats } from "../rows/lock_table.ts";
import { isUnchanged, NO_ROW, type StoredLine, storedLineOf } from "./stored_line.ts";

/** Pauses after another client was faster, or has the row locked (ms), and how long a change is tried (ms). */
const PAUSE = { first: 1, longest: 50, jitter: 1 };
const TRIED_FOR_MS = 4_000;

/** A line as it was read, without the entries whose sessions have ended. */
export interface ReadLine extends StoredLine {
  /** Those entries. */
  readonly dead: readonly Entry[];
}

/** How the statements of a request are sent. */
export interface Sending {
  /** The action, for error messages. */
  readonly what: string;
  readonly server: Server;
  /** The session that carries the lock, in `hybrid` mode. */
  readonly liveness?: LivenessLock;
  /** Sends a statement, if not on the connections of all requests. */
  readonly send?: LockTable["run"];
}

/** The session of a request has ended at the server. */
export const LOST_SESSION = Symbol("lost session");

/** Reads the lines of names, computes what becomes of them, and stores that unless a row has changed meanwhile. */
export class LineStore {
  readonly #table: LockTable;
  readonly #lockedRows: LockedRows;
  readonly #isHybrid: boolean;
  readonly #noteLine: (name: string, line: Line) => void;
  /** One change at a time for each name: those of one process would make each other repeat. */
  readonly #mutex = new KeyedMutex();

  /** @param noteLine Is told each line that was read, or is about to be stored. */
  constructor(
    table: LockTable,
    lockedRows: LockedRows,
    isHybrid: boolean,
    noteLine: (name: string, line: Line) => void,
  ) {
    this.#table = table;
    this.#lockedRows = lockedRows;
    this.#isHybrid = isHybrid;
    this.#noteLine = noteLine;
  }

  /** Which of some entries are carried by sessions that have ended. Only a client in `hybrid` mode asks. */
  async #deadAmong(sending: Sending, entries: readonly Entry[]): Promise<Entry[]> {
    const carried = this.#isHybrid ? entries.filter(({ liveness }) => liveness) : [];
    if (carried.length === 0) return [];
    const sql = this.#table.sql.selectDead(carried.map(({ liveness }) => liveness!));
    const { rows: [dead] } = await this.#send(sending, sql);
    return carried.filter((_, index) => dead[index] === "1");
  }

  #send({ what, send }: Sending, sql: string, repeats?: Repeats): Promise<Answer> {
    return send ? send(what, sql, repeats) : this.#table.run(what, sql, repeats);
  }

  /** Reads a line, without the entries whose sessions have ended. */
  async read(sending: Sending, name: string): Promise<ReadLine> {
    const { rows: [row] } = await this.#send(sending, this.#table.sql.selectLine(name));
    const read = row === undefined ? NO_ROW : storedLineOf(row);
    const { token, entries } = read.line;
    const inColumns = read.exists && read.lockedUntil !== "0" ? 1 : 0; // the others are not in the row's columns
    const first = row?.at(-1) === "1" ? entries.slice(0, inColumns) : [];
    const dead = [...first, ...await this.#deadAmong(sending, entries.slice(inColumns))];
    if (dead.length === 0) return { ...read, dead };
    return { ...read, line: { token, entries: entries.filter((entry) => !dead.includes(entry)) }, dead };
  }

  /**
   * Computes the change on the line as it is, until it is stored.
   *
   * @param change Returns what a request does to a line: the same line when nothing has to be stored.
   * @param ifLocked The result when a transaction has locked the row; without it, the change is tried again.
   */
  change<T>(
    sending: Sending,
    name: string,
    change: (read: ReadLine) => { readonly line: Line; readonly result: T },
    ifLocked?: (read: StoredLine) => T,
  ): Promise<T | typeof LOST_SESSION> {
    return this.#mutex.run(name, async () => {
      const startedAt = monotonic();
      const backoff = new Backoff(PAUSE);
      let before: StoredLine | undefined;
      for (;;) {
        const read = await this.read(sending, name);
        const { line, result } = change(read);
        this.#noteLine(name, line);
        if (line === read.line) return result;
        if (!read.exists) await this.#send(sending, this.#table.sql.insertFree(name));
        const stored = read.exists && await this.#store(sending, name, read, line);
        if (stored === LOST_SESSION) return LOST_SESSION;
        if (stored) return result;
        const isLocked = read.exists && isUnchanged(read, before);
        if (isLocked && ifLocked) return ifLocked(read);
        if (monotonic() - startedAt > TRIED_FOR_MS) {
          const reason = isLocked ? "another transaction keeps the row locked" : "other clients change it all the time";
          throw new BackendError(`Cannot ${sending.what}: ${reason}`, { retryable: true });
        }
        before = read;
        if (read.exists) await sleep(backoff.next());
      }
    });
  }

  /** Whether the line was stored: not when the row has changed, or a transaction has locked it. */
  async #store(
    sending: Sending,
    name: string,
    read: StoredLine,
    line: Line,
  ): Promise<boolean | typeof LOST_SESSION> {
    const { sql } = this.#table;
    const written = await this.write(sending, name, (noWait) => {
      return sql.storeLine(name, read, line, noWait, sending.liveness);
    });
    return written?.insertId === SESSION_GONE ? LOST_SESSION : (written?.affectedRows ?? 0) > 0;
  }

  /** Sends a change of a row; returns nothing when a transaction has locked it. */
  async write(
    sending: Sending,
    name: string,
    statement: (noWait?: NoWait) => string | undefined,
  ): Promise<Answer | undefined> {
    try {
      return await this.#lockedRows.send(sending.server, [{ name }], async (noWait) => {
        const sql = statement(noWait);
        return sql === undefined ? undefined : await this.#send(sending, sql, isPassingConflict);
      }, true);
    } catch (error) {
      if (!isRowLocked(error)) throw error;
      return undefined;
    }
  }
}
