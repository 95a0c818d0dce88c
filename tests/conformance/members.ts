/**
 * Refuses what is no object, and members of it that are unknown or of another type: they would silently do nothing.
 *
 * @param what What cannot be done with them.
 * @throws {TypeError}
 */
export function checkMembers(what: string, value: unknown, known: Readonly<Record<string, string>>): void {
  const names = Object.keys(known).join(", ");
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`Cannot ${what}: want an object with ${names}, not a value of type ${typeof value}`);
  }
  for (const [name, member] of Object.entries(value)) {
    if (!Object.hasOwn(known, name)) throw new TypeError(`Cannot ${what}: want ${names}, not "${name}"`);
    if (member === undefined || (member !== null && typeof member === known[name])) continue;
    throw new TypeError(
      `Cannot ${what}: want a value of type ${known[name]} as ${name}, not a value of type ${typeof member}`,
    );
  }
}
