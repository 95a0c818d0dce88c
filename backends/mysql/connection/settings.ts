/**
 * The settings of callers' connections: what they mean for statements, and which are refused.
 *
 * @module
 */
import { UnsupportedError } from "../../../core/errors.ts";
import type { Answer } from "./row_shapes.ts";
import type { Send } from "./own_pool.ts";
import { describe, NOT_ASCII, type Server } from "./server.ts";

/** Below this `sql_select_limit` the list of variables might be truncated. */
const FEW_ROWS = 1_000n;
/** A difference (s) between the session's clock and the server's that no statement explains. */
const CLOCK_DIFFERENCE_SECONDS = 60;
/** The character sets that texts are sent and answered in. */
const CHARSETS = ["character_set_client", "character_set_connection", "character_set_results"];

/**
 * Refuses connections that cannot be given other settings for a statement. Sends a statement without rows first, so
 * that an unsuitable answer is refused before anything is written.
 *
 * @throws {UnsupportedError} With the name of the setting.
 */
export async function requireDefaults(what: string, send: Send): Promise<void> {
  await requireNoTransaction(what, send);
  const { rows: [[limit, autocommit]] } = await send(
    "SELECT CAST(@@sql_select_limit AS BINARY) AS row_limit, CAST(@@autocommit AS BINARY) AS autocommit LIMIT 1",
  );
  requireAutocommit(what, { inTransaction: false, autocommit: autocommit !== "0" });
  if (BigInt(limit!) >= FEW_ROWS) return;
  throw new UnsupportedError(
    `Cannot ${what} on the caller's connections: they have sql_select_limit ${limit}; want DEFAULT, or a pool of mysql2`,
  );
}

/** Describes the server and the settings of a caller's connection, whatever its limit of rows is. */
export async function inspect(send: Send): Promise<Server> {
  const { rows: [[limit]] } = await send("SELECT CAST(@@sql_select_limit AS BINARY) LIMIT 1");
  const limited = BigInt(limit!) < FEW_ROWS;
  if (limited) await send(`SET sql_select_limit = ${FEW_ROWS}`);
  try {
    return await describe(send);
  } finally {
    if (limited) await send(`SET sql_select_limit = ${limit}`);
  }
}

/**
 * Refuses a caller's connection on which a statement would fail, or mean something else. Returns what the server is.
 *
 * @throws {UnsupportedError} With the name of the setting.
 */
export async function requireSettings(what: string, send: Send): Promise<Server> {
  const refuse = (setting: string, wanted: string) => {
    throw new UnsupportedError(`Cannot ${what} on the caller's connections: they have ${setting}; want ${wanted}`);
  };
  const { rows: [names] } = await send(`SELECT ${CHARSETS.map((name) => `CAST(@@${name} AS BINARY)`)} LIMIT 1`);
  CHARSETS.forEach((name, index) => {
    if (NOT_ASCII.test(names[index] ?? "")) refuse(`${name} ${names[index]}`, "utf8mb4");
  });
  const server = await inspect(send);
  const of = (name: string) => server.variables.get(name) ?? "";
  if (of("sql_mode").includes("SIMULTANEOUS_ASSIGNMENT")) {
    refuse("sql_mode SIMULTANEOUS_ASSIGNMENT", "it left out (sql_mode ORACLE contains it)");
  }
  for (const name of ["transaction_read_only", "tx_read_only"]) if (of(name) === "ON") refuse(`${name} ON`, "OFF");
  if (server.logsStatements && /^READ-(UN)?COMMITTED$/.test(server.isolation)) {
    refuse(`isolation level ${server.isolation}, and binlog_format is STATEMENT`, "REPEATABLE READ, or ROW");
  }
  const { rows: [[difference]] } = await send("SELECT TIMESTAMPDIFF(SECOND, NOW(6), SYSDATE(6)) LIMIT 1");
  if (Math.abs(Number(difference)) > CLOCK_DIFFERENCE_SECONDS) {
    refuse('a clock of their own, set by "timestamp"', "SET timestamp = DEFAULT");
  }
  return server;
}

/**
 * Refuses a connection with an open transaction of the caller: a lock would become part of it, and reads may be stale.
 *
 * @throws {UnsupportedError} When there is one, or `autocommit` is off.
 */
export async function requireNoTransaction(what: string, send: Send): Promise<void> {
  requireAutocommit(what, await send("DO 0"));
}

/**
 * Checks the status that came with an answer.
 *
 * @throws {UnsupportedError} When a transaction is open, or `autocommit` is off.
 */
export function requireAutocommit(
  what: string,
  { inTransaction, autocommit }: Pick<Answer, "inTransaction" | "autocommit">,
): void {
  if (!inTransaction && autocommit) return;
  throw new UnsupportedError(
    `Cannot ${what}: the caller's connection has a transaction open, or autocommit off; ` +
      "want connections whose transaction has ended and autocommit = 1, or a pool for locks alone",
  );
}
