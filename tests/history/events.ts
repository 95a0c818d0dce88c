/**
 * What a history is made of. Times are microseconds of the clock that all processes of the machine share, and each is
 * taken on the side that errs for the library: a question's before it is asked, an answer's after it came.
 *
 * @module
 */

/** What was asked of the library. */
export type Verb = "acquire" | "set" | "renew" | "release" | "verify" | "list" | "force" | "clean";

/** A lock as a listing showed it. */
export interface Listed {
  readonly name: string;
  /** As a decimal string. */
  readonly token: string;
  readonly lockedBy: string;
  /** Seconds until it expires as of the listing; `null` never. */
  readonly left: number | null;
  /** How many holders it admits; `null` any number. */
  readonly limit: number | null;
}

/** A question, written before it is asked. */
export interface Invoked {
  readonly kind: "invoked";
  readonly at: number;
  readonly worker: string;
  /** The operation's number within its worker. */
  readonly id: number;
  readonly verb: Verb;
  readonly names: readonly string[];
  /** Seconds asked for; `null` never expires. */
  readonly expires?: number | null;
  /** Seconds that it may wait. */
  readonly wait?: number;
  /** How many may hold it at once; `null` any number. @default 1 */
  readonly limit?: number | null;
  /** Whether the library keeps it alive by itself. */
  readonly autoRenew?: boolean;
  /** The token of the acquisition that a renewal or a release is of. */
  readonly token?: string;
  /** Who an acquisition says that it is: one of its own for each. */
  readonly lockedBy?: string;
}

/** How an operation ended. `unknown` is an error of the database: it took effect or it did not. */
export type Outcome = "done" | "not done" | "unknown";

/** An answer, written after it came. */
export interface Completed {
  readonly kind: "completed";
  readonly at: number;
  readonly worker: string;
  readonly id: number;
  readonly outcome: Outcome;
  /** What was granted, in the order of the names. */
  readonly granted?: readonly { readonly name: string; readonly token: string }[];
  readonly listed?: readonly Listed[];
  /** For people. */
  readonly error?: string;
}

/** A process saw a lock as held by itself at a moment that was read before it looked. The first sight begins a hold. */
export interface Believed {
  readonly kind: "believed";
  readonly at: number;
  readonly worker: string;
  readonly name: string;
  readonly token: string;
}

/**
 * A process begins to hold, or ends it by its own will: written before the release is asked for. The moment of a
 * beginning was read before it looked whether it holds.
 */
export interface HoldEdge {
  readonly kind: "hold began" | "hold ended";
  readonly at: number;
  readonly worker: string;
  readonly name: string;
  readonly token: string;
  /** Whether it took itself for the holder as it began. */
  readonly held?: boolean;
  /** Whether somebody listens for its loss. */
  readonly listening?: boolean;
}

/** The database said for the first time that an acquisition waits in its queue. */
export interface Queued {
  readonly kind: "queued";
  readonly at: number;
  readonly worker: string;
  /** Who the acquisition says that it is. */
  readonly lockedBy: string;
}

/** The signal of a lock has aborted. */
export interface LossTold {
  readonly kind: "loss told";
  readonly at: number;
  readonly worker: string;
  readonly name: string;
  readonly token: string;
  readonly reason: string;
}

/** A process did not run from `from` to `at`: it was stopped, its loop was blocked, or the machine was busy. */
export interface Stalled {
  readonly kind: "stalled";
  readonly from: number;
  readonly at: number;
  readonly worker: string;
}

/** A process has ended, in whatever way. */
export interface Ended {
  readonly kind: "ended";
  readonly at: number;
  readonly worker: string;
}

/** A process disposed of its backend, which answered: nothing of it may be held from then on. */
export interface Closed {
  readonly kind: "closed";
  /** When it began to close. */
  readonly from: number;
  readonly at: number;
  readonly worker: string;
  /** The first and the last operation on that backend. */
  readonly operations: readonly [first: number, last: number];
}

/** The tests were in the way of the database, from `from` to `at`. */
export interface Disturbed {
  readonly kind: "disturbed";
  readonly from: number;
  readonly at: number;
  readonly what: string;
}

/** Anything that happened. */
export type HistoryEvent =
  | Invoked
  | Completed
  | Queued
  | Believed
  | HoldEdge
  | LossTold
  | Stalled
  | Ended
  | Closed
  | Disturbed;
