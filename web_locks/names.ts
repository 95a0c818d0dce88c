/**
 * Names of the standard as names of locks. What both allow stays as it is, so `getLock("a")` and `request("a", …)`
 * exclude each other. Other names begin with "-", which the standard does not allow.
 *
 * @module
 */
import { fitsName } from "../core/options/options.ts";

/** Begins a name with escapes. */
const ESCAPED = "-:";
/** Begins the SHA-256 of a name that is too long. */
const HASHED = "-#";

/** The hashes that are being computed: requests for one name wait for the same one, which keeps them in order. */
const hashes = new Map<string, Promise<string>>();

/** Returns a name without NUL and lone surrogates, each name another one. */
export function escapeName(name: string): string {
  return name.replace(/[%\0\uD800-\uDFFF]/gu, (unit) => `%${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Returns the name that {@linkcode escapeName} was given. */
export function unescapeName(escaped: string): string {
  return escaped.replace(/%([0-9a-f]{4})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
}

async function hashOf(escaped: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(escaped)));
  return HASHED + [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the name of the lock for a name of the standard, another one for each. */
export function encodeName(name: string): string | Promise<string> {
  if (name !== "" && !name.includes("\0") && name.isWellFormed() && fitsName(name)) return name;
  const escaped = escapeName(name);
  if (fitsName(ESCAPED + escaped)) return ESCAPED + escaped;
  const known = hashes.get(escaped);
  if (known) return known;
  const hash = hashOf(escaped).finally(() => hashes.delete(escaped));
  hashes.set(escaped, hash);
  return hash;
}

/** Whether the name of a lock does not tell the name of the standard. */
export function isHashed(encoded: string): boolean {
  return encoded.startsWith(HASHED);
}

/** Returns the name of the standard for the name of a lock that is not hashed. */
export function decodeName(encoded: string): string {
  return encoded.startsWith(ESCAPED) ? unescapeName(encoded.slice(ESCAPED.length)) : encoded;
}
