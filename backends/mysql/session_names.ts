/** How many hexadecimal digits of the digest fit beside the prefix in the 64 characters that MySQL allows. */
const DIGITS = 56;

/**
 * The server-side name of a session lock: a digest, because GET_LOCK takes 64 characters at most, folds case on MySQL
 * and not on MariaDB, and knows no databases. 224 bits: two names never share one.
 */
export async function sessionName(database: string, table: string, name: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${database}\0${table}\0${name}`));
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `lockmgr:${hex.slice(0, DIGITS)}`;
}
