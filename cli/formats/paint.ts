/**
 * Colours for a terminal.
 *
 * @module
 */

/** Functions that colour a text, or leave it as it is. */
export interface Paint {
  /** What is well, or plentiful. */
  good(text: string): string;
  /** What needs a look, or runs short. */
  warning(text: string): string;
  /** What is wrong. */
  bad(text: string): string;
  /** What stands out. */
  strong(text: string): string;
  /** What matters less. */
  faint(text: string): string;
}

/** The colours by SGR code, or none. */
export function paints(coloured: boolean): Paint {
  const by = (code: number) => (text: string) => coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
  return { good: by(32), warning: by(33), bad: by(31), strong: by(1), faint: by(2) };
}
