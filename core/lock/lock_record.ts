import type { Json, LockRow } from "../backend.ts";
import { escapeInvisible } from "../events/invisible.ts";
import { monotonic } from "../util/runtime.ts";
import { driftDuring } from "./lease.ts";

/** Microseconds since 1970 as Python prints a UTC time: `2019-11-22 02:01:55.439390+00:00`. */
function formatMicroseconds(time: number): string {
  const seconds = new Date(Math.floor(time / 1e6) * 1e3).toISOString().slice(0, 19).replace("T", " ");
  return `${seconds}.${String(time % 1e6).padStart(6, "0")}+00:00`;
}

/** A text between single quotes, as Python writes it, with invisible characters as in JSON. */
function quote(text: string): string {
  return `'${escapeInvisible(text.replaceAll("\\", "\\\\").replaceAll("'", "\\'"))}'`;
}

/**
 * What this process knows of one acquisition: the newest answer of the database, and a monotonic time (ms) before the
 * server read its clock for it. A handle shares it with the record that it extends.
 */
export class Known {
  /** The newest answer. */
  row: LockRow;
  /** When the server's clock was at the answer's `now`, at the earliest (ms, monotonic). */
  askedAt: number;

  constructor(row: LockRow, askedAt: number) {
    this.row = row;
    this.askedAt = askedAt;
  }

  /**
   * Takes in a further answer. Nothing shortens a lease, so an answer with an earlier expiry is older than what is known.
   * An earlier answer that came fast says more about the server's clock than a later one that took long.
   */
  learn(row: LockRow, askedAt: number): void {
    if ((row.lockedUntil ?? Infinity) < (this.row.lockedUntil ?? Infinity)) return;
    const passed = Math.max((row.now - this.row.now) / 1e3, 0);
    const carriedOn = this.askedAt + passed - driftDuring(passed);
    this.askedAt = Math.min(Math.max(askedAt, carriedOn), monotonic());
    this.row = row;
  }
}

/** Returns what this process knows of a record's acquisition. */
export let knownOf: (record: LockRecord) => Known;

/** The method that `console.log` and `util.inspect` call. */
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/**
 * What the database says about a lock; any client may read it. `expired` and `expiresIn` follow the server's clock: its
 * answer plus a local monotonic clock.
 *
 * @example
 * ```ts
 * import { connect, getLock, listLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend, expires: 60, lockedBy: "host-a" });
 * const [record] = await listLocks({ backend });
 * assert.equal(record.lockedBy, "host-a");
 * assert(record.expiresIn! > 59 && record.expiresIn! <= 60);
 * assert.match(String(record), /^<Lock name='jobs' locked_by='host-a' locked_until='.+\+00:00'>$/);
 * ```
 */
export class LockRecord {
  /** The locked name. */
  readonly name: string;
  /** The holder's name: a host name by default; empty for a name that `holdAtLeast` keeps after its release. */
  readonly lockedBy: string;
  /** A number that the holder gave, such as its process id. */
  readonly lockProcess: number | null;
  /** When this acquisition was made, by the server's clock. */
  readonly createdAt: Date;
  /** The fencing token: it increases with every acquisition of this name, permanently. */
  readonly token: bigint;
  /** The JSON value stored with the lock; `null` without one. */
  readonly metadata: Json;
  /** The server's process or connection id of the session that carries the lock; `null` for a lease. */
  readonly session: string | null;
  /** How many holders this acquisition admits: 1 is exclusive, `Infinity` shared. */
  readonly limit: number;

  readonly #known: Known;

  static {
    knownOf = (record) => record.#known;
  }

  /** Makes the record of a row; `askedAt` is a monotonic time (ms) before the database was asked for it. */
  constructor(row: LockRow, askedAt: number) {
    this.#known = new Known(row, askedAt);
    this.name = row.name;
    this.lockedBy = row.lockedBy;
    this.lockProcess = row.lockProcess;
    this.createdAt = new Date(row.createdAt / 1e3);
    this.token = row.token;
    this.metadata = row.metadata === null ? null : JSON.parse(row.metadata);
    this.session = row.session ?? null;
    this.limit = row.limit ?? 1;
  }

  /** When it expires by the server's clock, as last read; `null` is never. */
  get lockedUntil(): Date | null {
    const { lockedUntil } = this.#known.row;
    return lockedUntil === null ? null : new Date(lockedUntil / 1e3);
  }

  /** When it was last acquired or renewed by the server's clock, as last read. */
  get updatedAt(): Date {
    return new Date(this.#known.row.updatedAt / 1e3);
  }

  /** How many clients waited for the name, as last read. Each process counts once, whatever waits in it. */
  get waiters(): number {
    return this.#known.row.waiters ?? 0;
  }

  /** Whether it has expired. */
  get expired(): boolean {
    return this.expiresIn !== null && this.expiresIn <= 0;
  }

  /** Seconds until it expires, with fractions, negative afterwards; `null` is never. */
  get expiresIn(): number | null {
    const { row: { lockedUntil, now }, askedAt } = this.#known;
    if (lockedUntil === null) return null;
    return (lockedUntil - now) / 1e6 - (monotonic() - askedAt) / 1e3;
  }

  /** Whole seconds until it expires, rounded down; `null` is never. */
  get expiresSeconds(): number | null {
    return this.expiresIn === null ? null : Math.floor(this.expiresIn);
  }

  /** Seconds since it was acquired, with fractions, by the server's clock. */
  get age(): number {
    const { row: { createdAt, now }, askedAt } = this.#known;
    return (now - createdAt) / 1e6 + (monotonic() - askedAt) / 1e3;
  }

  /** The record in one line, as django-lockmgr prints it. */
  toString(): string {
    const { lockedUntil } = this.#known.row;
    const until = lockedUntil === null ? "None" : formatMicroseconds(lockedUntil);
    return `<Lock name=${quote(this.name)} locked_by=${quote(this.lockedBy)} locked_until='${until}'>`;
  }

  /** The record as plain JSON: times in ISO 8601, the token as a decimal string, the limit of a shared lock as `null`. */
  toJSON(): Record<string, Json> {
    return {
      name: this.name,
      lockedBy: this.lockedBy,
      lockProcess: this.lockProcess,
      lockedUntil: this.lockedUntil?.toISOString() ?? null,
      createdAt: this.createdAt.toISOString(),
      updatedAt: this.updatedAt.toISOString(),
      token: String(this.token),
      metadata: this.metadata,
      session: this.session,
      limit: this.limit === Infinity ? null : this.limit,
      waiters: this.waiters,
      expired: this.expired,
      expiresIn: this.expiresIn,
      expiresSeconds: this.expiresSeconds,
    };
  }

  /** The record as `console.log` shows it: its fields. */
  [INSPECT](_depth: unknown, options: unknown, inspect?: (value: unknown, options: unknown) => string): unknown {
    const { name, lockedBy, lockProcess, lockedUntil, createdAt, updatedAt, token, metadata, session } = this;
    const { limit, waiters } = this;
    const times = { lockedUntil, createdAt, updatedAt };
    const fields = { name, lockedBy, lockProcess, ...times, token, metadata, session, limit, waiters };
    const kind = "held" in this ? "Lock" : "LockRecord"; // a minifier changes the names of the classes
    return inspect === undefined ? fields : `${kind} ${inspect(fields, options)}`;
  }
}
