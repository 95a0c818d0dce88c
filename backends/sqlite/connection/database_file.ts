import type { SessionHandle } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { type FileIdentity, identify, monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/** While a lock's signal is listened to, the files are checked this often (ms). */
const CHECK_INTERVAL_MS = 1_000;
/**
 * An acquisition checks the main file, and the side files only when their last check is older than this (ms): a check
 * takes 5 to 15 µs a file. A release checks nothing before that.
 */
const RECENT_MS = 2;
/** The write-ahead log and its index: a client that finds them missing makes others, and does not see our locks. */
const SIDE_FILES = ["-wal", "-shm"];

/**
 * The file of an open database, and the session of every lock in it. An open file outlives its name: after `rm`, `mv`,
 * or a restore from a backup this process would go on with a file that no other client opens, and both would be granted
 * the same lock. Device and inode say whether the path still leads to the open file: SQLite keeps it open, so its inode
 * is not used again. The file is never opened here: closing it would drop SQLite's own locks on it
 * (https://sqlite.org/howtocorrupt.html section 2.2).
 */
export class DatabaseFile implements SessionHandle {
  /** The path as the caller gave it. */
  readonly path: string;
  readonly #opened: FileIdentity;
  readonly #sides = new Map<string, FileIdentity>();
  readonly #sideBase: string;
  readonly #isWal: () => boolean;
  readonly #listeners = new Set<() => void>();
  #checkedAt = -Infinity;
  #timer: Timer | undefined;
  #ended: BackendError | undefined;
  #reason: string | undefined;

  /**
   * Call it right after the file was opened: with its path, its name as SQLite has it, with links resolved, and
   * whether the connection uses a write-ahead log now.
   */
  constructor(path: string, file: string, opened: FileIdentity, isWal: () => boolean) {
    this.path = path;
    this.#sideBase = baseName(path) === baseName(file) ? path : file;
    this.#opened = opened;
    this.#isWal = isWal;
  }

  /** Why the locks in this file are lost; `undefined` while the path leads to the open file. */
  get ended(): BackendError | undefined {
    return this.#ended;
  }

  /** The reason as a clause. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Calls `listener` once, at most a second after the file is gone. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#timer === undefined && !this.#ended) this.#schedule();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.close();
    };
  }

  /**
   * Checks that the path still leads to the open file.
   *
   * @throws {BackendError} When it does not, now or at an earlier check.
   */
  check(what: string): void {
    this.#check();
    if (this.#ended) throw this.#error(what);
  }

  /** The same before a lock is acquired: always of the main file, and of the side files unless their check is recent. */
  checkMain(what: string): void {
    if (this.#isRecent()) this.#note(this.#mainLoss());
    this.checkUnlessRecent(what);
  }

  /** The same, unless the last check is recent. */
  checkUnlessRecent(what: string): void {
    if (this.#ended || !this.#isRecent()) this.check(what);
  }

  /** Stops the regular checks. */
  close(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }

  #schedule(): void {
    this.#timer = startTimer(CHECK_INTERVAL_MS, () => {
      this.#schedule();
      this.#check();
    }, false);
  }

  #check(): void {
    if (this.#ended) return;
    this.#checkedAt = monotonic();
    this.#note(this.#mainLoss() ?? this.#sideLoss());
  }

  #isRecent(): boolean {
    return monotonic() - this.#checkedAt < RECENT_MS;
  }

  #note(loss: string | undefined): void {
    if (loss === undefined || this.#ended) return;
    this.#reason = `the database file ${JSON.stringify(this.path)} ${loss} while it was open`;
    this.#ended = this.#error("use this backend");
    this.close();
    for (const listener of [...this.#listeners]) listener();
  }

  #error(what: string): BackendError {
    return new BackendError(`Cannot ${what}: ${this.#reason}, and locks taken through it are lost; open a new backend`);
  }

  #mainLoss(): string | undefined {
    const found = identify(this.path);
    if (found === undefined) return undefined; // the program may not read the directory
    if (found === null) return "was removed or renamed";
    if (!isSame(found, this.#opened)) return "was replaced by another";
    // A file that has had a page never becomes empty again by SQLite's own doing.
    if (found.size === 0 && this.#opened.size > 0) return "was truncated";
    if (this.#opened.size === 0) (this.#opened as { size: number }).size = found.size;
    return undefined;
  }

  #sideLoss(): string | undefined {
    for (const side of SIDE_FILES) {
      const found = identify(this.#sideBase + side);
      const known = this.#sides.get(side);
      if (found === undefined || (found === null && known === undefined)) continue;
      if (known === undefined) this.#sides.set(side, found!);
      else if (found === null || !isSame(found, known)) {
        if (this.#isWal()) return `lost its "${side}" file`;
        this.#sides.clear(); // the program has chosen another journal mode
        return undefined;
      }
    }
    return undefined;
  }
}

function isSame(one: FileIdentity, two: FileIdentity): boolean {
  return one.device === two.device && one.inode === two.inode;
}

function baseName(path: string): string {
  return path.replace(/^.*[/\\]/s, "");
}
