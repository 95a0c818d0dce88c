/**
 * Rows as callers' drivers and wrappers answer them: mapped where what came is clear, refused where it is not.
 *
 * @module
 */
import type { Row } from "../rows/rows.ts";

/** What came, for an error's sentence. */
function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The list of rows in an answer: itself, of a result object, or of a pair of rows and a count. */
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

/** One row, with the names of columns as the statement wrote them, and every value as text or null. */
function toRow(row: unknown): Row {
  if (!isObject(row)) {
    const advice = Array.isArray(row) ? ' (rowMode "array", or the like)' : "";
    throw new TypeError(
      `Cannot use what the executor answered: a row is ${kindOf(row)}${advice}; want objects by column name`,
    );
  }
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name.toLowerCase(), value ?? null] as const)
      .map(([name, value]) => [name, value === null || typeof value === "string" ? value : String(value)]),
  );
}

/** Whether a row came as it should. */
function isPlain(row: unknown): boolean {
  if (!isObject(row)) return false;
  for (const name in row) {
    if (name !== name.toLowerCase() || (row[name] !== null && typeof row[name] !== "string")) return false;
  }
  return true;
}

/**
 * The rows of an answer.
 *
 * @throws {TypeError} When it has none, or they are no objects.
 */
export function rowsOf(answer: unknown): readonly Row[] {
  const rows = listOf(answer);
  return rows.every(isPlain) ? rows as readonly Row[] : rows.map(toRow);
}
