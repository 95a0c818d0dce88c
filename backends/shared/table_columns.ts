/** Returns which columns a table lacks; none of those that were `added` since `isOld`, when all of them are not there. */
export function lackOf(present: readonly string[], columns: readonly string[], added: readonly string[]) {
  const missingOf = (wanted: readonly string[]) => wanted.filter((column) => !present.includes(column));
  const isOld = missingOf(added).length === added.length;
  return { isOld, missing: missingOf(isOld ? columns : [...columns, ...added]) };
}
