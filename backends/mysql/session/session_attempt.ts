import { BackendError } from "../../../core/errors.ts";
import { isInterruption, translate } from "../errors.ts";
import type { SessionConnection } from "./session.ts";
import { acquireEach, ANOTHERS, CLOCK_NOW, DONE, releaseEach } from "./session_statements.ts";
import type { SessionTokens } from "./session_tokens.ts";

/** How often giving back is tried when the statement is killed each time. */
const TRIES = 5;

/** What came of a try. */
export interface Attempt {
  /** Which of the locks were taken. */
  readonly taken: readonly boolean[];
  /** The server's clock (µs) when it had granted them all. */
  readonly clock: number;
  /** The token of those that were taken. */
  readonly token: bigint;
}

/**
 * Tries once to take locks of the server's, none of which the connection has. After an error it has none of them.
 *
 * @param digests The locks' names on the server.
 * @param stoppedClock Whether the clock stands still within a statement: as a token it is read by a second one then.
 * @param tokens Where their token comes from; without it, it is the server's clock.
 */
export async function takeLocks(
  what: string,
  connection: SessionConnection,
  digests: readonly string[],
  stoppedClock: boolean,
  tokens?: SessionTokens,
): Promise<Attempt> {
  try {
    const { rows: [[got, clock, drawn]] } = await connection.queryPrimary(acquireEach(digests));
    const taken = digests.map((_, index) => isTaken(what, got?.[index]));
    const attempt = { taken, clock: Number(clock), token: BigInt(clock!) };
    if (!taken.includes(true)) return attempt;
    if (tokens) return { ...attempt, token: await tokens.tokenFor(BigInt(drawn!)) };
    if (!stoppedClock) return attempt;
    const { rows: [[later]] } = await connection.query(`SELECT ${CLOCK_NOW} AS clock`);
    return { taken, clock: Number(later), token: BigInt(later!) };
  } catch (error) {
    await makeSureFree(connection, digests);
    throw translate(what, error);
  }
}

function isTaken(what: string, letter: string | undefined): boolean {
  if (letter === DONE || letter === ANOTHERS) return letter === DONE;
  throw new BackendError(`Cannot ${what}: the server refused or the statement was killed`, { retryable: true });
}

/** An error does not mean that no lock was granted: they are given back, or the connection ended with all it holds. */
export async function makeSureFree(connection: SessionConnection, digests: readonly string[]): Promise<void> {
  for (let tries = 1; !connection.ended; tries++) {
    try {
      await connection.query(releaseEach(digests));
      return;
    } catch (error) {
      if (tries === TRIES || !isInterruption(error)) return connection.end(error as Error);
    }
  }
}

/** Frees locks that the connection has; answers which it had indeed. */
export async function freeLocks(connection: SessionConnection, digests: readonly string[]): Promise<boolean[]> {
  const { rows: [[freed]] } = await connection.queryPrimary(releaseEach(digests));
  return digests.map((_, index) => freed?.[index] === DONE); // else another's by now, or nobody's
}
