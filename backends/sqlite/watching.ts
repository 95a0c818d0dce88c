import { builtin, letGo, startTimer, type Timer } from "../../core/runtime.ts";

/** Pauses between looks at the file (ms) while somebody waits: from the first to the last, growing by half. A look costs 2 µs. */
const LOOK_FIRST = 2;
const LOOK_LAST = 20;

/** What is used of a watcher of `node:fs`. */
interface Watcher {
  close(): void;
  on(event: "error", listener: () => void): unknown;
}

/** What is asked of the database on each look. */
export interface Looks {
  /** Whether another connection has committed since the last look. */
  changed(): boolean;
  /** Whether nobody holds the name. */
  isFree(name: string): boolean;
}

/**
 * Notices commits of other processes: the directory is watched for the write-ahead log (woken within 0.2 ms on Linux),
 * and the database is looked at now and then, since a watch is only a hint on other systems and mounts.
 */
export class Watching {
  readonly #file: string | undefined;
  readonly #looks: Looks;
  readonly #waiters = new Map<string, Set<() => void>>();
  #watcher: Watcher | undefined;
  #timer: Timer | undefined;
  #pause = LOOK_FIRST;
  #looking = false;

  /** @param file The database file; `undefined` for one in memory, which nobody else can change. */
  constructor(file: string | undefined, looks: Looks) {
    this.#file = file;
    this.#looks = looks;
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  add(name: string, wake: () => void): Disposable {
    const waiters = this.#waiters.get(name) ?? new Set();
    this.#waiters.set(name, waiters.add(wake));
    if (this.#file !== undefined && this.#timer === undefined) this.#start(this.#file);
    return {
      [Symbol.dispose]: () => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.#waiters.get(name) === waiters) this.#waiters.delete(name);
        if (this.#waiters.size === 0) this.#stop();
      },
    };
  }

  /** Wakes everybody: what they wait for cannot come any more, and their next try says why. */
  close(): void {
    this.#stop();
    for (const waiters of [...this.#waiters.values()]) for (const wake of [...waiters]) wake();
  }

  #start(file: string): void {
    this.#looks.changed();
    this.#pause = LOOK_FIRST;
    this.#tick();
    try {
      const { watch } = builtin<typeof import("node:fs")>("node:fs")!;
      const directory = file.replace(/[/\\][^/\\]*$/, "") || "/";
      const log = `${file.slice(file.search(/[^/\\]*$/))}-wal`;
      const watcher = watch(directory, { persistent: false }, (_event, changed) => {
        if (changed === null || changed === log) this.#lookSoon();
      });
      watcher.on("error", () => {}); // looking now and then goes on
      letGo(watcher);
      this.#watcher = watcher;
    } catch {
      // No permission or no such thing here: looking now and then has to do.
    }
  }

  #stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Keeps the process alive: somebody is waiting. */
  #tick(): void {
    this.#timer = startTimer(this.#pause, () => {
      this.#pause = Math.min(this.#pause * 1.5, LOOK_LAST);
      this.#tick();
      this.#look();
    }, true);
  }

  /** Several events of one commit make one look. */
  #lookSoon(): void {
    if (this.#looking) return;
    this.#looking = true;
    queueMicrotask(() => {
      this.#looking = false;
      this.#look();
    });
  }

  #look(): void {
    try {
      if (this.#waiters.size === 0 || !this.#looks.changed()) return;
      this.#pause = LOOK_FIRST;
      for (const [name, waiters] of this.#waiters) {
        if (this.#looks.isFree(name)) { for (const wake of [...waiters]) wake(); }
      }
    } catch {
      for (const waiters of this.#waiters.values()) for (const wake of [...waiters]) wake(); // their next try says why
    }
  }
}
