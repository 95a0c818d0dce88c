/**
 * Values as SQL. Everything that comes from outside travels in hexadecimal: right whatever the connection's character
 * set and `sql_mode` are, one round trip, and nothing is left to escape.
 *
 * @module
 */

const encoder = new TextEncoder();

/** A text as bytes of UTF-8. */
export function bytes(text: string): string {
  if (text === "") return "''";
  let hex = "";
  for (const byte of encoder.encode(text)) hex += byte.toString(16).padStart(2, "0");
  return `X'${hex}'`;
}

/** A text, or NULL, for a column of characters. */
export function text(value: string | null): string {
  return value === null ? "NULL" : `CONVERT(${bytes(value)} USING utf8mb4)`;
}

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
