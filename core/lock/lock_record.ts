import type { Json, LockRow } from "../backend.ts";
import { monotonic } from "../util/runtime.ts";

/** Microseconds since 1970 as Python prints a UTC time: `2019-11-22 02:01:55.439390+00:00`. */
function formatMicroseconds(time: number): string {
  const seconds = new Date(Math.floor(time / 1e6) * 1e3).toISOString().slice(0, 19).replace("T", " ");
  return `${seconds}.${String(time % 1e6).padStart(6, "0")}+00:00`;
}

/** A text between single quotes, as Python's `repr` would have it. */
function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** How much the clocks of two machines may differ in what they call a duration (ms): 1 %, at most a second. */
const DRIFT_SHARE = 0.01;
const DRIFT_MOST_MS = 1_000;

/**
 * What this process knows of one acquisition: the newest answer of the database about it, and the monotonic time (ms)
 * before which the server had not yet read the clock of that answer. A handle and the record that it is share one.
 */
export class Known {
  #row: LockRow;
  #askedAt: number;

  constructor(row: LockRow, askedAt: number) {
    this.#row = row;
    this.#askedAt = askedAt;
  }

  /** The newest answer. */
  get row(): LockRow {
    return this.#row;
  }

  /** When the server's clock was at the answer's `now`, at the earliest (ms, monotonic). */
  get askedAt(): number {
    return this.#askedAt;
  }

  /**
   * Takes in a further answer. Nothing shortens a lease, so one with an earlier expiry is older than what is known. An
   * answer that took long says less of the server's clock than an earlier one did, unless that clock was set forward.
   */
  learn(row: LockRow, askedAt: number): void {
    if ((row.lockedUntil ?? Infinity) < (this.#row.lockedUntil ?? Infinity)) return;
    const passed = Math.max((row.now - this.#row.now) / 1e3, 0);
    const carriedOn = this.#askedAt + passed - Math.min(passed * DRIFT_SHARE, DRIFT_MOST_MS);
    this.#askedAt = Math.min(Math.max(askedAt, carriedOn), monotonic());
    this.#row = row;
  }
}

/** Returns what this process knows of a record's acquisition: a handle goes on learning. */
export let knownOf: (record: LockRecord) => Known;

/** Where `console.log` and `util.inspect` look for what to show. */
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/**
 * What the database says about a lock; anybody may read it. Whether it has expired, and how long it has left, follow
 * the server's clock: what it answered, carried on by a local clock that only moves forward.
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
  /** Who took it: a host name unless the holder said otherwise. */
  readonly lockedBy: string;
  /** A number the holder gave, such as its process id. */
  readonly lockProcess: number | null;
  /** When this acquisition was made, by the server's clock. */
  readonly createdAt: Date;
  /** The fencing token: it rises with every acquisition of this name, for ever. */
  readonly token: bigint;
  /** The JSON value stored with the lock; `null` when none was. */
  readonly metadata: Json;
  /** The server session that vouches for the lock (a process or connection id); `null` for a plain lease. */
  readonly session: string | null;

  readonly #known: Known;

  static {
    knownOf = (record) => record.#known;
  }

  /** Made by this library from a row and the monotonic time (ms) before the database was asked for it. */
  constructor(row: LockRow, askedAt: number) {
    this.#known = new Known(row, askedAt);
    this.name = row.name;
    this.lockedBy = row.lockedBy;
    this.lockProcess = row.lockProcess;
    this.createdAt = new Date(row.createdAt / 1e3);
    this.token = row.token;
    this.metadata = row.metadata === null ? null : JSON.parse(row.metadata);
    this.session = row.session ?? null;
  }

  /** When it expires, by the server's clock, as far as is known here; `null` is never. */
  get lockedUntil(): Date | null {
    return dateOf(this.#known.row.lockedUntil);
  }

  /** When it was last acquired or renewed, by the server's clock, as far as is known here. */
  get updatedAt(): Date {
    return new Date(this.#known.row.updatedAt / 1e3);
  }

  /** Whether it has lapsed by now. */
  get expired(): boolean {
    return this.expiresIn !== null && this.expiresIn <= 0;
  }

  /** Seconds until it lapses, with fractions, negative once it has; `null` when it never does. */
  get expiresIn(): number | null {
    const { row: { lockedUntil, now }, askedAt } = this.#known;
    if (lockedUntil === null) return null;
    return (lockedUntil - now) / 1e6 - (monotonic() - askedAt) / 1e3;
  }

  /** Whole seconds until it lapses, rounded down; `null` when it never does. */
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

  /** The record as plain JSON: times in ISO 8601, the token as a decimal string. */
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
      expired: this.expired,
      expiresIn: this.expiresIn,
      expiresSeconds: this.expiresSeconds,
    };
  }

  /** The record as `console.log` shows it: its fields, as they are now. */
  [INSPECT](_depth: unknown, options: unknown, inspect?: (value: unknown, options: unknown) => string): unknown {
    const { name, lockedBy, lockProcess, lockedUntil, createdAt, updatedAt, token, metadata, session } = this;
    const fields = { name, lockedBy, lockProcess, lockedUntil, createdAt, updatedAt, token, metadata, session };
    return inspect === undefined ? fields : `${this.constructor.name} ${inspect(fields, options)}`;
  }
}

/** Microseconds since 1970 as a date; `null` stays. */
function dateOf(time: number | null): Date | null {
  return time === null ? null : new Date(time / 1e3);
}
