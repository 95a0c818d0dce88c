/** Plain ASCII, which means the same whatever the character set of the connection. */
const PLAIN = /^[\x20-\x7e]*$/;

/** SQL for a text, also where `standard_conforming_strings` is off. */
function quoted(text: string): string {
  return `E'${text.replace(/['\\]/g, "$&$&")}'`;
}

/** Returns the statement with its parameters written into it; `undefined` when one of them does not match `allowed`. */
export function inlineParameters(
  statement: string,
  parameters: readonly (string | null)[],
  allowed: RegExp = PLAIN,
): string | undefined {
  if (!parameters.every((value) => value === null || (PLAIN.test(value) && allowed.test(value)))) return undefined;
  return statement.replace(/\$(\d+)/g, (_all, number) => {
    const value = parameters[number - 1];
    return value === null ? "NULL" : quoted(value);
  });
}
