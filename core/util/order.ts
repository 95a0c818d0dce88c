/**
 * The one order of names: by code point, which is that of the bytes of UTF-8, in the databases too.
 *
 * @module
 */

/** Compares two names for `sort`. `<` compares UTF-16 units, in whose order U+FFFF follows U+10000. */
export function byCodePoint(one: string, two: string): number {
  const length = Math.min(one.length, two.length);
  for (let index = 0; index < length; index++) {
    const [first, second] = [one.charCodeAt(index), two.charCodeAt(index)];
    if (first !== second) return rankOf(first) - rankOf(second);
  }
  return one.length - two.length;
}

/** Ranks surrogates, halves of the code points from U+10000 on, after all other units. */
function rankOf(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
