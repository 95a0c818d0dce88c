/**
 * What may be the name of a lock: alike on all engines.
 *
 * @module
 */

/** The longest name, in Unicode code points: what a `VARBINARY(1020)` column holds of any script. */
export const MAX_NAME_LENGTH = 255;

/** How many Unicode code points a string has, counting no further than one past `limit`. */
function codePoints(text: string, limit: number): number {
  if (text.length <= limit) return text.length;
  let count = 0;
  for (const _ of text) if (++count > limit) break;
  return count;
}

/**
 * Checks that a text can be stored by every engine and read back unchanged.
 *
 * @throws {TypeError} When it is no string, or holds NUL or a lone surrogate.
 * @throws {RangeError} When it is empty or longer than 255 code points.
 */
export function checkText(what: string, text: unknown): asserts text is string {
  if (typeof text !== "string") throw new TypeError(`Cannot use ${what} of type ${typeof text}: want a string`);
  if (text === "") throw new RangeError(`Cannot use an empty ${what}: want 1 to ${MAX_NAME_LENGTH} characters`);
  if (codePoints(text, MAX_NAME_LENGTH) > MAX_NAME_LENGTH) {
    throw new RangeError(`Cannot use a ${what} of over ${MAX_NAME_LENGTH} characters: want 1 to ${MAX_NAME_LENGTH}`);
  }
  if (text.includes("\0")) throw new TypeError(`Cannot use ${what} ${JSON.stringify(text)}: it holds NUL`);
  if (!text.isWellFormed()) {
    throw new TypeError(`Cannot use ${what} ${JSON.stringify(text)}: it holds a lone surrogate`);
  }
}

/**
 * Checks the name of a lock.
 *
 * @throws {TypeError} When it is no string, or holds NUL or a lone surrogate.
 * @throws {RangeError} When it is empty or longer than 255 code points.
 */
export function checkName(name: unknown): asserts name is string {
  checkText("lock name", name);
}
