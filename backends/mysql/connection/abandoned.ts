/**
 * Statements whose answers this process no longer waits for: they go on at the server, and could take effect after the
 * caller was told an outcome. Each is ended there, by way of another connection of the same user.
 *
 * @module
 */
import { monotonic, startTimer } from "../../../core/util/runtime.ts";
import type { Connection } from "./connection.ts";
import { hexadecimal } from "./sql.ts";

/** Pauses between tries to reach the server (ms): from the first to the last, doubling. */
const RETRY_FIRST_MS = 50;
const RETRY_LAST_MS = 1_000;
/** How often it is asked whether a connection is gone before the connection that asks is given back. */
const LOOKS = 60;
/** After so many of them the connection is killed once more. */
const LOOKS_PER_KILL = 20;
/** The longest pause between two of them (ms). */
const LOOK_LAST_MS = 20;

/** Ends connections at the server, and knows which may still be running a statement. */
export class Abandoned {
  readonly #open: () => Promise<Connection>;
  readonly #ending = new Map<object, Promise<boolean>>();
  readonly #stopped = new AbortController();
  #control: Promise<Connection> | undefined;
  #users = 0;

  /** @param open Opens a connection for the KILL statements. */
  constructor(open: () => Promise<Connection>) {
    this.#open = open;
  }

  /** Resolves when no statement that was given up can take effect any more; `undefined` when there is none. */
  get pending(): Promise<unknown> | undefined {
    return this.#ending.size === 0 ? undefined : Promise.all(this.#ending.values());
  }

  /** Ends the statement that a connection is running. The connection's own answer says what came of it. */
  async interrupt(connection: Connection): Promise<void> {
    await this.use(async (control) => {
      if (await serverIdOf(control, connection) === connection.id) await control.query(`KILL QUERY ${connection.id}`);
    });
  }

  /** Ends a connection at the server. Resolves to `true` once it is gone there, with all that it was doing. */
  end(connection: Connection): Promise<boolean> {
    if (connection.marker === undefined) return Promise.resolve(true); // nothing tells it from another with the same id
    return this.track(connection, (control, signal) => kill(control, connection, signal));
  }

  /** Tries to end something until an attempt answers `true`, once for each key at a time, for so long (ms) at most. */
  track(
    key: object,
    attempt: (control: Connection, signal: AbortSignal) => Promise<boolean>,
    limit = Infinity,
  ): Promise<boolean> {
    let ending = this.#ending.get(key);
    if (ending === undefined) {
      ending = this.#repeat(attempt, monotonic() + limit).finally(() => this.#ending.delete(key));
      this.#ending.set(key, ending);
    }
    return ending;
  }

  async #repeat(
    attempt: (control: Connection, signal: AbortSignal) => Promise<boolean>,
    until: number,
  ): Promise<boolean> {
    const { signal } = this.#stopped;
    for (let pause = RETRY_FIRST_MS; !signal.aborted; pause = Math.min(pause * 2, RETRY_LAST_MS)) {
      try {
        if (await this.use((control) => attempt(control, signal))) return true;
      } catch {
        // The server cannot be reached: nothing can be said of the statement until it can.
      }
      if (monotonic() > until) return true;
      await pauseUnless(signal, pause, false);
    }
    return false;
  }

  /** Lends the connection for KILL statements; it is open only while it is used. */
  async use<T>(work: (control: Connection) => Promise<T>): Promise<T> {
    this.#users++;
    const opening = this.#control ??= this.#open();
    try {
      return await work(await opening);
    } finally {
      this.#users--;
      if (this.#users === 0 || await hasEnded(opening)) this.#close(opening);
    }
  }

  #close(opening: Promise<Connection>): void {
    if (this.#control === opening) this.#control = undefined;
    opening.then((control) => control.end(new Error("Cannot go on: it is not needed any more"), true), () => {});
  }

  /** Stops trying. */
  stop(): void {
    this.#stopped.abort();
    if (this.#control) this.#close(this.#control);
  }
}

/** Whether a connection could not be opened, or has ended. */
function hasEnded(opening: Promise<Connection>): Promise<boolean> {
  return opening.then(({ ended }) => ended !== undefined, () => true);
}

/** The server's id of a connection, or `null` when it is gone: its marker is released after all that it was doing. */
async function serverIdOf(control: Connection, { marker }: Connection): Promise<number | null> {
  const { rows: [[id]] } = await control.query(`SELECT IS_USED_LOCK('${marker}')`);
  return id === null ? null : Number(id);
}

/** Kills a connection and waits until it is gone; `false` when it takes longer than is good for one visit. */
async function kill(control: Connection, connection: Connection, signal: AbortSignal): Promise<boolean> {
  for (let look = 0; look < LOOKS && !signal.aborted; look++) {
    const id = await serverIdOf(control, connection);
    if (id === null) return true;
    // Another id is that of a proxy's connection: there is no telling whom a KILL would meet.
    if (id === connection.id && look % LOOKS_PER_KILL === 0) {
      await control.query(`KILL ${id}`).catch((error) => {
        if (control.ended) throw error; // else it is gone already
      });
    }
    await pauseUnless(signal, Math.min(look, LOOK_LAST_MS));
  }
  return false;
}

/**
 * Kills what a connection of a caller's pool is doing, and waits until it is gone. It has no marker; it is known by its id
 * together with the client's port or the statement.
 */
export async function killLent(
  control: Connection,
  { id, port, sql }: { readonly id: number; readonly port: number | undefined; readonly sql: string },
  signal: AbortSignal,
): Promise<boolean> {
  const same = `id = ${id} AND (CAST(info AS BINARY) = X'${hexadecimal(sql)}'${
    port === undefined ? "" : ` OR SUBSTRING_INDEX(host, ':', -1) = '${port}'`
  })`;
  for (let look = 0; look < LOOKS && !signal.aborted; look++) {
    const { rows } = await control.query(`SELECT id FROM information_schema.processlist WHERE ${same}`);
    if (rows.length === 0) return true;
    if (look % LOOKS_PER_KILL === 0) {
      await control.query(`KILL ${id}`).catch((error) => {
        if (control.ended) throw error;
      });
    }
    await pauseUnless(signal, Math.min(look, LOOK_LAST_MS));
  }
  return false;
}

/** A pause that ends early when the signal aborts. */
function pauseUnless(signal: AbortSignal, milliseconds: number, keepAlive = true): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      timer.stop();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = startTimer(milliseconds, done, keepAlive);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}

/** Whether a promise resolves within so many milliseconds, and not to `false`. */
export async function within(milliseconds: number, outcome: Promise<unknown>): Promise<boolean> {
  const over = new AbortController();
  try {
    return await Promise.race([
      outcome.then((value) => value !== false),
      pauseUnless(over.signal, milliseconds).then(() => false),
    ]);
  } finally {
    over.abort();
  }
}
