import { hexadecimal } from "../../shared/hexadecimal.ts";

/** Plain ASCII, which means the same whatever the character set of the connection. */
const PLAIN = /^[\x20-\x7e]*$/;

/** SQL for a text, in plain ASCII, also where `standard_conforming_strings` is off. */
function quoted(text: string): string {
  if (PLAIN.test(text)) return `E'${text.replace(/['\\]/g, "$&$&")}'`;
  return `convert_from(E'\\\\x${hexadecimal(text)}'::bytea, 'UTF8')`;
}

/** Returns the statement with its parameters written into it. */
export function inlineParameters(statement: string, parameters: readonly (string | null)[]): string {
  return statement.replace(/\$(\d+)/g, (_all, number) => {
    const value = parameters[number - 1];
    return value === null ? "NULL" : quoted(value);
  });
}
