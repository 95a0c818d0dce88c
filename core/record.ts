import type { Json, LockRow } from "./backend.ts";
import { monotonic } from "./runtime.ts";

/** Microseconds since 1970 as Python prints a UTC time: `2019-11-22 02:01:55.439390+00:00`. */
function formatMicroseconds(time: number): string {
  const seconds = new Date(Math.floor(time / 1e6) * 1e3).toISOString().slice(0, 19).replace("T", " ");
  return `${seconds}.${String(time % 1e6).padStart(6, "0")}+00:00`;
}

/** A text between single quotes, as Python's `repr` would have it. */
function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

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
  /** When it lapses, by the server's clock; `null` is never. */
  readonly lockedUntil: Date | null;
  /** When this acquisition was made, by the server's clock. */
  readonly createdAt: Date;
  /** When it was last acquired or renewed, by the server's clock. */
  readonly updatedAt: Date;
  /** The fencing token: it rises with every acquisition of this name, for ever. */
  readonly token: bigint;
  /** The JSON value stored with the lock; `null` when none was. */
  readonly metadata: Json;
  /** The server session that vouches for the lock (a process or connection id); `null` for a plain lease. */
  readonly session: string | null;

  #row: LockRow;
  #askedAt: number;

  /** Made by this library from a row and the monotonic time (ms) before the database was asked for it. */
  constructor(row: LockRow, askedAt: number) {
    this.#row = row;
    this.#askedAt = askedAt;
    this.name = row.name;
    this.lockedBy = row.lockedBy;
    this.lockProcess = row.lockProcess;
    this.lockedUntil = dateOf(row.lockedUntil);
    this.createdAt = new Date(row.createdAt / 1e3);
    this.updatedAt = new Date(row.updatedAt / 1e3);
    this.token = row.token;
    this.metadata = row.metadata === null ? null : JSON.parse(row.metadata);
    this.session = row.session ?? null;
  }

  /** Takes in a newer answer about the same acquisition. */
  protected update(row: LockRow, askedAt: number): void {
    this.#row = row;
    this.#askedAt = askedAt;
    const changed = { lockedUntil: dateOf(row.lockedUntil), updatedAt: new Date(row.updatedAt / 1e3) };
    Object.assign(this, changed);
  }

  /** The expiry as last seen, in exact microseconds; `null` when it never lapses. */
  protected get seenExpiry(): number | null {
    return this.#row.lockedUntil;
  }

  /** Whether it has lapsed by now. */
  get expired(): boolean {
    return this.expiresIn !== null && this.expiresIn <= 0;
  }

  /** Seconds until it lapses, with fractions, negative once it has; `null` when it never does. */
  get expiresIn(): number | null {
    const { lockedUntil, now } = this.#row;
    if (lockedUntil === null) return null;
    return (lockedUntil - now) / 1e6 - (monotonic() - this.#askedAt) / 1e3;
  }

  /** Whole seconds until it lapses, rounded down; `null` when it never does. */
  get expiresSeconds(): number | null {
    return this.expiresIn === null ? null : Math.floor(this.expiresIn);
  }

  /** Seconds since it was acquired, with fractions, by the server's clock. */
  get age(): number {
    return (this.#row.now - this.#row.createdAt) / 1e6 + (monotonic() - this.#askedAt) / 1e3;
  }

  /** The record in one line, as django-lockmgr prints it. */
  toString(): string {
    const { lockedUntil } = this.#row;
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
}

/** Microseconds since 1970 as a date; `null` stays. */
function dateOf(time: number | null): Date | null {
  return time === null ? null : new Date(time / 1e3);
}
