import { BackendError } from "../../core/errors.ts";
import { CLOCK_NOW } from "./carriers.ts";
import { isInterruption, translate } from "./errors.ts";
import type { SessionConnection } from "./session_connection.ts";

/** How often giving back is tried when the statement is killed each time. */
const TRIES = 5;

/**
 * Tries once to take a lock of the server's.
 *
 * @param digest The lock's name on the server.
 * @param stoppedClock Whether the clock stands still within a statement: then it is read by a second one.
 * @returns The server's clock under the lock (µs), or `undefined` when another has it.
 */
export async function takeLock(
  what: string,
  connection: SessionConnection,
  digest: string,
  stoppedClock: boolean,
): Promise<number | undefined> {
  try {
    const { rows: [[got, clock]] } = await connection.query(`SELECT GET_LOCK('${digest}', 0), ${CLOCK_NOW}`);
    if (got === "0") return undefined;
    if (got === null) {
      throw new BackendError(`Cannot ${what}: the server refused or the statement was killed`, { retryable: true });
    }
    return Number(stoppedClock ? (await connection.query(`SELECT ${CLOCK_NOW}`)).rows[0][0] : clock);
  } catch (error) {
    await makeSureFree(connection, digest);
    throw translate(what, error);
  }
}

/** An error does not mean that the lock was not granted: it is given back, or the connection ended with all it holds. */
async function makeSureFree(connection: SessionConnection, digest: string): Promise<void> {
  for (let tries = 1; !connection.ended; tries++) {
    try {
      await connection.query(`SELECT RELEASE_LOCK('${digest}')`);
      return;
    } catch (error) {
      if (tries === TRIES || !isInterruption(error)) return connection.end(error as Error);
    }
  }
}
