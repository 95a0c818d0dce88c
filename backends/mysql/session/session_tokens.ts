import { BackendError } from "../../../core/errors.ts";
import { randomId, sleep } from "../../../core/util/runtime.ts";
import { isConflict, isDenied, isLockWaitTimeout, isMissingTable } from "../errors.ts";
import { tokenSchema, tokenTable } from "../schema.ts";
import type { MysqlSession } from "./session.ts";
import { areFree, CLOCK_NOW, DONE } from "./session_statements.ts";
import type { Answer } from "../connection/row_shapes.ts";
import { quoted } from "../connection/inline_parameters.ts";

/** How many tokens are reserved at once. As many microseconds are a second: the clock seldom falls behind the tokens. */
const RESERVED_TOKENS = 1n << 20n;
/** How often a session tries to join an epoch while other sessions change its row. */
const MAX_TRIES = 200;
/** How often a statement is sent whose row another transaction keeps locked. */
const MAX_LONG_TRIES = 3;
/** The longest pause between two tries (ms). */
const LONGEST_PAUSE_MS = 20;

/** The row of the table of tokens, and what the server said with it. */
interface Epoch {
  /** The token before the epoch's first. */
  readonly base: bigint;
  /** What UUID_SHORT() returned when the epoch began. */
  readonly first: bigint;
  /** No token of the epoch is as high as this. */
  readonly reserved: bigint;
  /** The GET_LOCKs that the sessions of this epoch hold: one that is held proves that its session lives. */
  readonly sessions: readonly string[];
  /** Counts the changes of the row. */
  readonly revision: string;
  /** What UUID_SHORT() returns now. */
  readonly drawn: bigint;
  /** The server's clock (µs). */
  readonly clock: bigint;
}

/** Returns the token of locks that are held already, from what UUID_SHORT() returned then and the server's clock then (µs). */
export type DrawToken = (drawn: bigint, clock: bigint) => Promise<bigint>;

/** Opens the tokens of a session: the server's clock, where their table is missing and may not be created or used. */
export async function openTokens(session: MysqlSession, lockTable: string, migrate: boolean): Promise<DrawToken> {
  const table = quoted(tokenTable(lockTable));
  try {
    const exists = await isThere(session, table);
    if (!exists && migrate) await send(session, tokenSchema(lockTable));
    if (exists || migrate) return epochTokens(session, table, await join(session, table));
  } catch (error) {
    if (!isDenied(error)) throw error;
  }
  // SYSDATE() may stand still within a statement, as NOW() does (--sysdate-is-now): then a second one reads it.
  const { rows: [[early, , later]] } = await session.query("SELECT SYSDATE(6), SLEEP(0.001), SYSDATE(6)");
  const readClock = async () => BigInt((await session.query(`SELECT ${CLOCK_NOW}`)).rows[0][0]!);
  return (_drawn, clock) => early === later ? readClock() : Promise.resolve(clock);
}

/**
 * Tokens of one session's locks without a write for each. UUID_SHORT() counts upwards while the server runs, whatever its
 * clock does: a token is the base of an epoch plus the draws since the epoch began.
 *
 * After a restart UUID_SHORT() may be lower. Therefore the epoch's row lists its sessions, each by a GET_LOCK that it
 * holds. A new session joins the epoch while one of those lives, which proves that the server has not restarted; otherwise
 * no session draws in it any more, and the new one begins an epoch above all reserved tokens.
 */
function epochTokens(session: MysqlSession, table: string, { base, first, reserved }: Epoch): DrawToken {
  const reserve = async (until: bigint) => {
    const sql = `UPDATE ${table} SET reserved = GREATEST(reserved, ${until}), revision = revision + 1
      WHERE id = 1 AND base = ${base}`;
    if (await change(session, sql)) reserved = until;
    else {
      const error = new BackendError(`Cannot reserve tokens: table ${table} was replaced`, { retryable: true });
      session.end(error);
      throw error;
    }
  };
  return async (drawn) => {
    const token = base + drawn - first;
    if (token >= reserved) await reserve(token + RESERVED_TOKENS);
    return token;
  };
}

async function isThere(session: MysqlSession, table: string): Promise<boolean> {
  try {
    await session.query(`SELECT id FROM ${table} WHERE id = 1`);
    return true;
  } catch (error) {
    if (isMissingTable(error)) return false;
    throw error;
  }
}

/** Joins the epoch, or begins one. */
async function join(session: MysqlSession, table: string): Promise<Epoch> {
  const own = `lockmgr:${randomId()}`;
  const { rows: [[got]] } = await session.query(`SELECT GET_LOCK('${own}', 0)`);
  if (got !== "1") throw new BackendError("Cannot draw tokens: the server refused a lock for the session");
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const epoch = await readEpoch(session, table);
    const joined = epoch && await tryToJoin(session, table, epoch, own);
    if (joined) return joined;
    await sleep(Math.random() * Math.min(tries, LONGEST_PAUSE_MS));
  }
  throw new BackendError(`Cannot draw tokens: table ${table} changed at each of ${MAX_TRIES} tries`, {
    retryable: true,
  });
}

/** Reads the row; creates it when it is missing, and returns `undefined`. */
async function readEpoch(session: MysqlSession, table: string): Promise<Epoch | undefined> {
  const { rows: [row] } = await session.query(
    `SELECT base, first, reserved, sessions, revision, UUID_SHORT(), ${CLOCK_NOW} FROM ${table} WHERE id = 1`,
  );
  if (!row) {
    await send(
      session,
      `INSERT IGNORE INTO ${table} (id, base, first, reserved, sessions, revision) VALUES (1, 0, 0, 0, ' ', 0)`,
    );
    return undefined;
  }
  const [base, first, reserved, sessions, revision, drawn, clock] = row as string[];
  return {
    base: BigInt(base),
    first: BigInt(first),
    reserved: BigInt(reserved),
    sessions: sessions.split(" ").filter((name) => name !== ""),
    revision,
    drawn: BigInt(drawn),
    clock: BigInt(clock),
  };
}

/** Joins or begins an epoch; returns `undefined` when another session has changed the row meanwhile. */
async function tryToJoin(
  session: MysqlSession,
  table: string,
  epoch: Epoch,
  own: string,
): Promise<Epoch | undefined> {
  const living = await whichLive(session, epoch.sessions);
  const update = (values: string, condition: string) =>
    change(session, `UPDATE ${table} SET ${values}, revision = revision + 1 WHERE id = 1 AND ${condition}`);
  const list = `sessions = '${[...living, own].join(" ")}'`;
  const unchanged = `revision = ${epoch.revision}`;
  if (living.length === 0) {
    const base = epoch.clock > epoch.reserved ? epoch.clock : epoch.reserved;
    const begun = { ...epoch, base, first: epoch.drawn, reserved: base + RESERVED_TOKENS };
    const values = `base = ${base}, first = ${begun.first}, reserved = ${begun.reserved}, ${list}`;
    return await update(values, unchanged) ? begun : undefined;
  }
  if (living.length < epoch.sessions.length && await update(list, unchanged)) return epoch;
  // other sessions may join at the same time, as long as the epoch is the same
  return await update(`sessions = CONCAT(sessions, ' ${own}')`, `base = ${epoch.base}`) ? epoch : undefined;
}

async function whichLive(session: MysqlSession, sessions: readonly string[]): Promise<string[]> {
  if (sessions.length === 0) return [];
  const { rows: [[free]] } = await session.query(areFree(sessions));
  return sessions.filter((_, index) => free![index] !== DONE);
}

/** Changes the row if it is still as it was read. */
async function change(session: MysqlSession, sql: string): Promise<boolean> {
  return (await send(session, sql)).affectedRows > 0;
}

/** Sends a statement, again after a conflict: many sessions may be opened at once, and one of them ends each deadlock. */
async function send(session: MysqlSession, sql: string): Promise<Answer> {
  for (let tries = 1;; tries++) {
    try {
      return await session.query(sql);
    } catch (error) {
      const most = isLockWaitTimeout(error) ? MAX_LONG_TRIES : MAX_TRIES;
      if (tries === most || !isConflict(error)) throw error;
      await sleep(Math.random() * Math.min(tries, LONGEST_PAUSE_MS));
    }
  }
}
