/**
 * Diagnoses a database that keeps locks, step by step.
 *
 * @module
 */
import { type Backend, BackendError, type Diagnostic, getLock, listLocks, UnsupportedError } from "../mod.ts";
import { likelyCause, stateOfTable } from "./hints.ts";
import type { OpenOptions } from "./command.ts";

/** The lock that is acquired as a test. */
const PROBE = "lockmgr:doctor";
/** The longest wait for it (s): another doctor may hold it. */
const PROBE_WAIT_S = 5;
/** Clocks that differ by more (ms) are reported. */
const MOST_SKEW_MS = 1_000;

/** Opens the database. */
type Open = (options: OpenOptions) => Promise<Backend>;

const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error);

/** Diagnoses the database. */
export async function* diagnose(open: Open, signal: AbortSignal): AsyncGenerator<Diagnostic> {
  let backend: Backend;
  try {
    backend = await open({ migrate: false });
  } catch (error) {
    if (error instanceof TypeError) throw error; // the command line is wrong, not the database
    yield notThereYet(error) ?? unreachable(error);
    return;
  }
  yield { what: "database", state: "ok", detail: `${backend.engine} in "${backend.mode}" mode answers` };
  let usable = true;
  for (const diagnostic of await diagnosticsOf(backend)) {
    yield diagnostic;
    if (diagnostic.what === "table" && diagnostic.state !== "ok") usable = false;
  }
  yield* otherModes(backend.mode, open);
  if (!usable) {
    yield { what: "locks", state: "note", detail: "No lock was taken to try it: that would create the table" };
    return;
  }
  yield* held(backend);
  yield* probed(backend, signal);
}

/** A server that answers and has no table yet, or an old one: some engines look for it as they connect. */
function notThereYet(error: unknown): Diagnostic | undefined {
  const state = error instanceof BackendError ? stateOfTable(error) : undefined;
  if (state === undefined) return;
  const use = state === "old"
    ? "is of an earlier version: the first use upgrades it"
    : "is not there yet: the first use creates it";
  const detail = `the database answers, and the table ${use}, unless "migrate" is off`;
  return { what: "table", state: "note", detail, advice: '"lockmgr schema" prints the statements that do' };
}

function unreachable(error: unknown): Diagnostic {
  const advice = error instanceof UnsupportedError
    ? "Use --mode lease: it needs nothing but a table"
    : error instanceof BackendError
    ? likelyCause(error)
    : undefined;
  return { what: "database", state: "problem", detail: messageOf(error), ...(advice ? { advice } : {}) };
}

/** What the engine itself reports, if it can. */
async function diagnosticsOf(backend: Backend): Promise<readonly Diagnostic[]> {
  try {
    return await backend.diagnose?.() ?? [];
  } catch (error) {
    return [{ what: "settings", state: "problem", detail: messageOf(error) }];
  }
}

/** Whether the other modes can be used. */
async function* otherModes(mode: string, open: Open): AsyncGenerator<Diagnostic> {
  for (const other of ["lease", "session", "hybrid"].filter((each) => each !== mode)) {
    const what = `mode ${other}`;
    try {
      await (await open({ mode: other, migrate: false }))[Symbol.asyncDispose]();
      yield { what, state: "ok", detail: "can be used as well" };
    } catch (error) {
      const untouched = notThereYet(error);
      const detail = untouched ? `can be used as well: ${untouched.detail}` : messageOf(error);
      yield { what, state: "note", detail };
    }
  }
}

/** Which locks are held now. */
async function* held(backend: Backend): AsyncGenerator<Diagnostic> {
  if (backend.mode === "session") return;
  try {
    const records = await listLocks({ backend, includeExpired: true });
    const expired = records.filter((record) => record.expired).length;
    const detail = `${records.length - expired} held, ${expired} expired`;
    const advice = expired > 1_000 ? '"lockmgr clean" clears expired locks away' : undefined;
    yield { what: "locks", state: "ok", detail, ...(advice ? { advice } : {}) };
  } catch (error) {
    const advice = 'May this user read the table? "lockmgr schema" prints the statements that create it';
    yield { what: "locks", state: "problem", detail: messageOf(error), advice };
  }
}

/** Acquires and releases a lock, and compares the clocks. */
async function* probed(backend: Backend, signal: AbortSignal): AsyncGenerator<Diagnostic> {
  const startedAt = performance.now();
  const clock = Date.now();
  try {
    const expires = backend.mode === "session" ? undefined : PROBE_WAIT_S * 2;
    const lock = await getLock(PROBE, { backend, expires, wait: PROBE_WAIT_S, signal });
    const takenAt = performance.now();
    const skew = lock.createdAt.getTime() - (clock + (takenAt - startedAt) / 2);
    const kept = await lock.verify().finally(() => lock.unlock());
    const times = `taken in ${milliseconds(takenAt - startedAt)}, released in ${
      milliseconds(performance.now() - takenAt)
    }`;
    yield kept
      ? { what: "taking a lock", state: "ok", detail: `${times}, token ${lock.token}` }
      : { what: "taking a lock", state: "problem", detail: "the lock was gone as soon as it was taken" };
    if (backend.mode !== "session") yield skewed(skew, takenAt - startedAt);
  } catch (error) {
    signal.throwIfAborted();
    const advice = error instanceof BackendError
      ? "May this user INSERT and UPDATE in the table, and is the server no read-only replica?"
      : `Another doctor may be running, or another client holds ${JSON.stringify(PROBE)}`;
    yield { what: "taking a lock", state: "problem", detail: messageOf(error), advice };
  }
}

function milliseconds(time: number): string {
  return `${time.toFixed(1)} ms`;
}

/** Locks use the server's clock only; people compare it with their own. */
function skewed(skew: number, roundTrip: number): Diagnostic {
  const what = "clocks";
  if (Math.abs(skew) <= Math.max(MOST_SKEW_MS, roundTrip)) {
    return { what, state: "ok", detail: "this host's and the server's agree within 1 second" };
  }
  const detail = `this host's is ${Math.abs(skew / 1e3).toFixed(1)} s ${skew < 0 ? "ahead of" : "behind"} the server's`;
  return { what, state: "note", detail, advice: "Locks use the server's clock only; only the times shown look odd" };
}
