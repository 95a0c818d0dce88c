/**
 * Values as SQL. What comes from outside travels in hexadecimal unless it is plain ASCII without quotes and backslashes:
 * right whatever the connection's character set and `sql_mode` are, one round trip, and nothing is left to escape.
 *
 * @module
 */

const encoder = new TextEncoder();

/**
 * What means the same in every `sql_mode` and in what connections may use. Most names and every owner are of it. Not the
 * empty text: `EMPTY_STRING_IS_NULL` makes NULL of it.
 */
const PLAIN = /^[A-Za-z0-9 _.:@/-]+$/;

/**
 * A text as bytes of UTF-8, for columns of bytes, which make bytes also of what is plain. Without `_binary` before it:
 * MariaDB looks the name of a character set up each time, which costs a pair 3 % and a crowd 6 % of the server's time.
 */
export function bytes(text: string): string {
  return PLAIN.test(text) ? `'${text}'` : `X'${hexadecimal(text)}'`;
}

/** Several of them, with commas between. */
export function list(texts: readonly string[]): string {
  return texts.map(bytes).join(", ");
}

/** The bytes of UTF-8 in hexadecimal. */
export function hexadecimal(text: string): string {
  let hex = "";
  for (const byte of encoder.encode(text)) hex += byte.toString(16).padStart(2, "0");
  return hex;
}

/** The text of such bytes. */
export function fromHexadecimal(hex: string): string {
  return new TextDecoder().decode(Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)));
}

/** A text, or NULL, for a column of characters. */
export function text(value: string | null): string {
  if (value === null) return "NULL";
  return PLAIN.test(value) ? `'${value}'` : `CONVERT(${bytes(value)} USING utf8mb4)`;
}

/** What a SELECT ends with that must not be cut short by `sql_select_limit`. */
export const EVERY_ROW = "LIMIT 18446744073709551615";

/** A whole number, or NULL. */
export function integer(value: number | bigint | null): string {
  return value === null ? "NULL" : String(BigInt(value));
}

/** A checked table name, with or without its database, between the quotes of SQL. */
export function quoted(table: string): string {
  return table.split(".").map((part) => `\`${part}\``).join(".");
}

/** Any text as an identifier. */
export function identifier(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}
