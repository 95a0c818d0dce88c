/**
 * Many names at once: in which order, and how many in one statement.
 *
 * @module
 */
import { hexadecimal } from "../connection/sql.ts";

/** Names in one statement, at most. */
const TOGETHER = 500;
/** So many names and more go in two statements abreast: the server then has work for two processors. */
const ABREAST = 200;

function parts<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => {
    return items.slice(index * size, (index + 1) * size);
  });
}

/** Parts of a list, short enough for one statement each. */
export function chunks<T>(items: readonly T[]): T[][] {
  return parts(items, TOGETHER);
}

/** Parts of a list for statements that go at the same time, each a transaction of its own. */
export function lanes<T>(items: readonly T[]): T[][] {
  return parts(items, items.length < ABREAST ? TOGETHER : Math.min(TOGETHER, Math.ceil(items.length / 2)));
}

/** Beyond the first 65,536 characters the order of UTF-16 is not that of the bytes of UTF-8. */
const SURROGATE = /[\ud800-\udfff]/;

/** Items in the one order that everybody locks rows in: that of the names' bytes, as the server has them. */
export function sorted<T extends { readonly name: string }>(items: readonly T[]): T[] {
  const rare = items.some(({ name }) => SURROGATE.test(name));
  const keyed = items.map((item) => ({ item, key: rare ? hexadecimal(item.name) : item.name }));
  return keyed.sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0).map(({ item }) => item);
}
