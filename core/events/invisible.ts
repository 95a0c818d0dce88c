/**
 * Characters that move the cursor, hide text or change its direction: control characters (C0, DEL, C1), format
 * characters (bidirectional, zero-width, tags), line and paragraph separators, lone surrogates, and what Unicode lets a
 * terminal show as nothing, such as letters that take no ink. Selectors of a picture's variant may stay.
 */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|(?![\ufe00-\ufe0f])\p{Default_Ignorable_Code_Point}/gu;

/**
 * Escapes the characters of a text that a terminal obeys or does not show, as the lines of `printEvents`, the messages of
 * errors and the command line do: control, bidirectional and zero-width characters, line separators, and letters without
 * ink.
 *
 * @example
 * ```ts
 * import { escapeInvisible } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * assert.equal(escapeInvisible("jobs\x1b[2J\u202e"), "jobs\\u001b[2J\\u202e");
 * ```
 *
 * @param text The text; in JSON, what it means stays the same.
 * @param escape Returns what replaces a character. By default its UTF-16 units as `\uXXXX`.
 * @returns The text with these characters replaced, line ends included.
 */
export function escapeInvisible(text: string, escape: (character: string) => string = asJson): string {
  return text.replace(INVISIBLE, (character) => escape(character));
}

/** Returns a text in quotes, for a message: without invisible characters, in JSON. */
export function quoted(text: string): string {
  return escapeInvisible(JSON.stringify(text));
}

function asJson(character: string): string {
  const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
}
