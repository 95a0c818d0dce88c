/**
 * Converts the answers of callers' drivers and wrappers to rows, and refuses those that are ambiguous.
 *
 * @module
 */
import type { Row } from "../rows/rows.ts";

/** Names the type of a value for an error. */
function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns the rows of an answer: an array, a result object, or a pair of rows and a count. */
export function listOf(answer: unknown): readonly unknown[] {
  if (isObject(answer) && Array.isArray(answer.rows)) return answer.rows;
  if (Array.isArray(answer)) {
    const [first, second] = answer;
    const isPair = answer.length === 2 && Array.isArray(first) && !Array.isArray(second);
    return isPair ? first as unknown[] : answer;
  }
  throw new TypeError(
    `Cannot use what the executor answered: it is ${kindOf(answer)}; want a promise of an array of rows`,
  );
}

/**
 * Converts a row: names of columns in lower case, as in the statement, and every value as text, or null where that is
 * empty: wrappers turn one into the other.
 */
function toRow(row: unknown): Row {
  if (!isObject(row)) {
    const advice = Array.isArray(row) ? ' (rowMode "array", or the like)' : "";
    throw new TypeError(
      `Cannot use what the executor answered: a row is ${kindOf(row)}${advice}; want objects by column name`,
    );
  }
  return Object.fromEntries(
    Object.entries(row).map((
      [name, value],
    ) => [name.toLowerCase(), value == null || value === "" ? null : String(value)]),
  );
}

/** Whether a row needs no conversion. */
function isPlain(row: unknown): boolean {
  if (!isObject(row)) return false;
  for (const name in row) {
    const value = row[name];
    if (name !== name.toLowerCase() || value === "" || (value !== null && typeof value !== "string")) return false;
  }
  return true;
}

/**
 * Returns the rows of an answer, converted.
 *
 * @throws {TypeError} When it has no rows, or they are not objects.
 */
export function rowsOf(answer: unknown): readonly Row[] {
  const rows = listOf(answer);
  return rows.every(isPlain) ? rows as readonly Row[] : rows.map(toRow);
}
