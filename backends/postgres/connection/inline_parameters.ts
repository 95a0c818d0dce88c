/** Plain ASCII, which means the same whatever the character set of the connection. */
const PLAIN = /^[\x20-\x7e]*$/;

/** SQL for a text, in plain ASCII, also where `standard_conforming_strings` is off. */
function quoted(text: string): string {
  if (PLAIN.test(text)) return `E'${text.replace(/['\\]/g, "$&$&")}'`;
  const bytes = [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0"));
  return `convert_from(E'\\\\x${bytes.join("")}'::bytea, 'UTF8')`;
}

/** Returns the statement with its parameters written into it. */
export function inlineParameters(statement: string, parameters: readonly (string | null)[]): string {
  return statement.replace(/\$(\d+)/g, (_all, number) => {
    const value = parameters[number - 1];
    return value === null ? "NULL" : quoted(value);
  });
}
