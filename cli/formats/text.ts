/**
 * Texts from a database on a terminal: never a control sequence, always as wide as planned.
 *
 * @module
 */
import { escapeInvisible } from "../../mod.ts";

/** What this program itself writes to terminals: line ends, tabs and colours. */
// deno-lint-ignore no-control-regex -- what begins a colour
const OURS = /(\n|\t|\x1b\[\d{1,2}m)/;

/** Scripts and pictures that take two columns. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

function escaped(character: string): string {
  const code = character.codePointAt(0)!.toString(16);
  if (code.length <= 2) return `\\x${code.padStart(2, "0")}`;
  return code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\u{${code}}`;
}

/** A text in one line with its invisible characters escaped. */
export function visible(text: string): string {
  return escapeInvisible(text, escaped);
}

/** The same of a text of several lines, which stay. */
export function visibleLines(text: string): string {
  return text.split("\n").map(visible).join("\n");
}

/** A finished text for a terminal: line ends, tabs and colours stay, any other invisible character is escaped. */
export function printable(text: string): string {
  return text.split(OURS).map((part, index) => index % 2 === 0 ? visible(part) : part).join("");
}

/** A value as JSON on one line, with its invisible characters escaped as JSON does it. */
export function toJson(value: unknown): string {
  return escapeInvisible(JSON.stringify(value));
}

/** How many columns a character takes. */
function widthOfCharacter(character: string): number {
  if (character === "\ufe0f") return 1; // makes the picture before it, such as ❤, a wide one
  if (/^[\p{Mn}\p{Me}]$/u.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/** How many columns a text takes. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += widthOfCharacter(character);
  return width;
}

/** A text of exactly so many columns: filled with spaces, or cut with an ellipsis. */
export function fitted(text: string, columns: number): string {
  const width = widthOf(text);
  if (width <= columns) return text + " ".repeat(columns - width);
  let cut = "";
  let used = 0;
  for (const character of text) {
    const more = widthOfCharacter(character);
    if (used + more > columns - 1) break;
    cut += character;
    used += more;
  }
  return `${cut}…${" ".repeat(columns - used - 1)}`;
}

/** A number of things, in words: `1 lock`, `2 locks`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** Seconds as people say them: `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  const sign = seconds < 0 ? "-" : "";
  const whole = Math.abs(seconds);
  if (whole < 10) return `${sign}${Math.floor(whole * 10) / 10} s`;
  const units: [string, number][] = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  let left = Math.floor(whole);
  const parts: string[] = [];
  for (const [unit, size] of units.slice(first, first + 2)) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return sign + parts.join(" ");
}
