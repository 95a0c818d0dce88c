import type { SessionHandle } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { type FileIdentity, identify, monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/** While a lock's signal is listened to, the file is looked at this often (ms). A look takes 3 µs a file. */
const CHECK_INTERVAL_MS = 1_000;
/**
 * An acquisition always looks at the database file, but at those beside it only when the last look is older than this
 * (ms), and a release looks at neither before. A look costs up to 3 % of an acquisition and its release.
 */
const RECENT_MS = 1;
/** The write-ahead log and its index: a client that finds them missing makes others, and does not see our locks. */
const SIDE_FILES = ["-wal", "-shm"];

/**
 * The file of an open database. An open file outlives its name: after `rm`, `mv`, or a restore from a backup this
 * process would go on with a file that no other client opens any more, and both would be granted the same lock. The
 * device and inode say whether the path still leads to the file that is open: SQLite keeps it open, so its inode
 * cannot be given to another file. It is never opened here: closing it would drop SQLite's own locks on it
 * (https://sqlite.org/howtocorrupt.html section 2.2).
 *
 * It is the lifeline of every lock in it.
 */
export class DatabaseFile implements SessionHandle {
  /** The path as the caller gave it. */
  readonly path: string;
  /** The open file. */
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
   * Made right after the file was opened: its path, its name as SQLite has it with links resolved, and whether the
   * connection uses a write-ahead log at the moment.
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

  /** The same as a clause. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Calls `listener` once when the file is found to be gone, at most a second later. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#timer === undefined && !this.#ended) this.#schedule();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.close();
    };
  }

  /**
   * Makes sure that the path still leads to the open file.
   *
   * @throws {BackendError} When it does not: now, or at an earlier look.
   */
  check(what: string, thoroughly: boolean): void {
    this.#look(thoroughly);
    if (this.#ended) throw this.#error(what);
  }

  /** The same for a release: what was looked at a moment ago is not looked at again. */
  checkUnlessRecent(what: string): void {
    if (this.#ended || monotonic() - this.#checkedAt >= RECENT_MS) this.check(what, true);
  }

  /** Stops looking. */
  close(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }

  #schedule(): void {
    this.#timer = startTimer(CHECK_INTERVAL_MS, () => {
      this.#schedule();
      this.#look(true);
    }, false);
  }

  #look(thoroughly: boolean): void {
    if (this.#ended) return;
    const loss = this.#mainLoss() ?? this.#sideLoss(thoroughly);
    if (loss === undefined) return;
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
    if (found === undefined) return undefined; // the program may not look: it cannot say
    if (found === null) return "was removed or renamed";
    if (!isSame(found, this.#opened)) return "was replaced by another";
    // A file that has had a page never becomes empty again by SQLite's own doing.
    if (found.size === 0 && this.#opened.size > 0) return "was truncated";
    if (this.#opened.size === 0) (this.#opened as { size: number }).size = found.size;
    return undefined;
  }

  #sideLoss(thoroughly: boolean): string | undefined {
    const now = monotonic();
    if (!thoroughly && now - this.#checkedAt < RECENT_MS) return undefined;
    this.#checkedAt = now;
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
