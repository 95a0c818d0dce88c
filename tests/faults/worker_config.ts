import type { ConnectOptions, Mode } from "@lockmgr/lockmgr";

/** What a worker process is told to do. */
export interface WorkerConfig {
  readonly worker: string;
  /** Where the database is, and how to reach it. */
  readonly target: string;
  readonly options: ConnectOptions;
  readonly mode: Mode;
  /** The file that its history goes to. */
  readonly history: string;
  readonly seed: number;
  readonly names: readonly string[];
  /** How long it works. */
  readonly seconds: number;
  /** The work is over as soon as this file is there. */
  readonly over: string;
  /** How long it waits for a lock, at most, in seconds. */
  readonly patience: number;
  /** The shortest lease that it asks for, in seconds. */
  readonly shortest: number;
  /** How many callers work at once, which only acquire and give up. @default 1, which does everything */
  readonly callers?: number;
  /** Whether its wall clock is hours off and jumps. */
  readonly wildClock?: boolean;
  /** Whether it is killed at times between a release and its answer. */
  readonly diesReleasing?: boolean;
  /** Whether it blocks its own event loop for longer than its lease. */
  readonly blocks?: boolean;
}
