/** Values that nothing can read otherwise, whatever the character set of the connection: plain ASCII. */
const PLAIN = /^[\x20-\x7e]*$/;

/** SQL for a text, also where `standard_conforming_strings` is off. */
function escaped(text: string): string {
  return `E'${text.replace(/['\\]/g, "$&$&")}'`;
}

/**
 * The statement with its parameters written into it; `undefined` when one of them should not be. Without parameters
 * postgres.js sends an unprepared statement in one round trip; with them it asks the server for their types first, which
 * makes it two. It is no door for a second statement: the server takes only one in this protocol.
 */
export function inlineParameters(statement: string, parameters: readonly (string | null)[]): string | undefined {
  if (!parameters.every((value) => value === null || PLAIN.test(value))) return undefined;
  return statement.replace(/\$(\d+)/g, (_all, number) => {
    const value = parameters[number - 1];
    return value === null ? "NULL" : escaped(value);
  });
}
