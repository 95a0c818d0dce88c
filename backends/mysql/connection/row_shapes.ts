/**
 * Converts the answers of callers' drivers and ORMs, and refuses those that are ambiguous.
 *
 * @module
 */
/** What the server answered: rows as text, or what a statement changed. */
export interface Answer {
  /** The rows, each column as text. */
  readonly rows: readonly (readonly (string | null)[])[];
  /** The argument of `LAST_INSERT_ID(…)` in the statement; 0 when it was not called. */
  readonly insertId: bigint;
  /** How many rows it changed, or found when the client asks for found rows. */
  readonly affectedRows: number;
  /** Whether a transaction is open on the connection afterwards; unknown after rows. */
  readonly inTransaction: boolean;
  /** Whether each statement is a transaction of its own; unknown after rows. */
  readonly autocommit: boolean;
}

type Fields = Record<string, unknown>;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** Names the type of a value for an error. */
function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
}

function refused(what: string, why: string, wanted: string): TypeError {
  return new TypeError(`Cannot ${what}: the function answered ${why}; want a promise of ${wanted}`);
}

/** Returns the error for a row in which the driver, such as by a type cast of the caller's, has left nothing. */
export function withoutValue(what: string): TypeError {
  return refused(what, "a row without its value", "rows with the values as the driver sends them");
}

/**
 * Returns the rows of an answer: an array, an object with `rows`, or the rows with their fields or metadata.
 *
 * @throws {TypeError} When it has none.
 */
function rowsIn(what: string, answer: unknown): readonly (Fields | readonly unknown[])[] {
  const list = isObject(answer) ? answer.rows : answer;
  const isRow = (value: unknown) => isObject(value) || Array.isArray(value);
  if (Array.isArray(list)) {
    const [first] = list;
    const isPair = list.length === 2 && Array.isArray(first) && first.every(isRow);
    const rows = isPair ? first : list;
    if (rows.every(isRow)) return rows;
  }
  throw refused(what, `${kindOf(answer)} without rows`, "an array of rows");
}

/** Returns a value as text, whatever the driver made of it; null where that is empty: wrappers turn one into the other. */
function textOf(what: string, value: unknown): string | null {
  if (value === null || value === undefined || value === "") return null;
  if (value instanceof Uint8Array) return new TextDecoder().decode(value) || null;
  if (typeof value === "boolean") return value ? "1" : "0";
  if (["string", "number", "bigint"].includes(typeof value)) return String(value);
  throw refused(what, `a row with ${kindOf(value)} as a value`, "rows with the values as the driver sends them");
}

/** The names that drivers and ORMs have for the count of affected rows. */
const COUNTS = ["affectedRows", "numAffectedRows", "rowsAffected"];

/** Whether a value says what a statement changed. Bun's `SQL` says it on the array of rows. */
function isHeader(value: unknown): value is Fields {
  const has = (name: string) => name in (value as Fields);
  if (Array.isArray(value)) return has("lastInsertRowid") && has("affectedRows");
  return isObject(value) && has("insertId") && COUNTS.some(has);
}

/** Whether a value is the insert id and the count of affected rows, as Sequelize answers to an INSERT. */
function isPairOfCounts(value: unknown): value is [number | bigint, number | bigint] {
  return Array.isArray(value) && value.length === 2 &&
    value.every((each) => ["number", "bigint"].includes(typeof each));
}

/** Bits of the server status (https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html). */
const SERVER_STATUS_IN_TRANS = 1;
const SERVER_STATUS_AUTOCOMMIT = 2;

/** Returns the answer to a statement that changes rows; the status of the connection is known of some drivers only. */
export function changeOf({ lastInsertRowid, insertId = lastInsertRowid, serverStatus, ...counts }: Fields): Answer {
  const status = typeof serverStatus === "number" ? serverStatus : SERVER_STATUS_AUTOCOMMIT;
  return {
    rows: [],
    insertId: BigInt(insertId as string | null ?? 0),
    affectedRows: Number(COUNTS.map((name) => counts[name]).find((count) => count !== undefined) ?? 0),
    inTransaction: (status & SERVER_STATUS_IN_TRANS) !== 0,
    autocommit: (status & SERVER_STATUS_AUTOCOMMIT) !== 0,
  };
}

/**
 * Converts the answer of a caller's function.
 *
 * @param changes Whether the statement changes rows.
 * @throws {TypeError} When the answer does not say what the statement returned or changed.
 */
export function answerOf(what: string, answer: unknown, changes: boolean): Answer {
  if (!changes) {
    const rows = rowsIn(what, answer).map((row) => Object.values(row).map((value) => textOf(what, value)));
    return { rows, insertId: 0n, affectedRows: 0, inTransaction: false, autocommit: true };
  }
  const header = [answer, ...(Array.isArray(answer) ? answer : [])].find(isHeader);
  if (header) return changeOf(header);
  if (isPairOfCounts(answer)) return changeOf({ insertId: answer[0], affectedRows: answer[1] });
  throw refused(what, `${kindOf(answer)} without insertId and affectedRows`, "what the driver answers to a change");
}
