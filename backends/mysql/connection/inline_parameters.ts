/**
 * Inlined parameters. Texts are sent in hexadecimal unless they are ASCII without quotes and backslashes: correct in every
 * character set and `sql_mode`, without escaping, in one round trip.
 *
 * @module
 */
import { hexadecimal } from "../../shared/hexadecimal.ts";

/**
 * Texts that mean the same in every `sql_mode`: most names, and every owner. Not the empty text, of which
 * `EMPTY_STRING_IS_NULL` makes NULL.
 */
const PLAIN = /^[A-Za-z0-9 _.:@/-]+$/;

/**
 * A text as bytes of UTF-8, for columns of bytes. Without the introducer `_binary`: MariaDB looks up its name each time,
 * which costs 3 % of the server's time for single locks and 6 % for batches.
 */
export function bytes(text: string): string {
  return PLAIN.test(text) ? `'${text}'` : `X'${hexadecimal(text)}'`;
}

/** Several texts as a list. */
export function list(texts: readonly string[]): string {
  return texts.map(bytes).join(", ");
}

/** The text of bytes in hexadecimal. */
export function fromHexadecimal(hex: string): string {
  return new TextDecoder().decode(Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)));
}

/** A text, or NULL, for a column of characters. */
export function text(value: string | null): string {
  if (value === null) return "NULL";
  return PLAIN.test(value) ? `'${value}'` : `CONVERT(${bytes(value)} USING utf8mb4)`;
}

/** Ends a SELECT that `sql_select_limit` must not truncate. */
export const EVERY_ROW = "LIMIT 18446744073709551615";

/** A whole number, or NULL. */
export function integer(value: number | bigint | null): string {
  return value === null ? "NULL" : String(BigInt(value));
}

/** A checked table name, with or without its database, quoted. */
export function quoted(table: string): string {
  return table.split(".").map((part) => `\`${part}\``).join(".");
}

/** Any text as an identifier. */
export function identifier(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}
