import type { Server } from "./server.ts";

/** How many hexadecimal digits of the digest fit beside the prefix in the 64 characters that MySQL allows. */
const DIGITS = 56;

/**
 * The server-side name of a session lock: a digest, because GET_LOCK takes 64 characters at most, folds case on MySQL
 * and not on MariaDB, and knows no databases. 224 bits: two names never share one.
 */
export function sessionName(
  server: Pick<Server, "database" | "variables">,
  table: string,
  name: string,
): Promise<string> {
  const folds = server.variables.get("lower_case_table_names") !== "0";
  const [within, of] = [server.database, table].map((part) => folds ? part.toLowerCase() : part);
  return digest(`${within}\0${of}\0${name}`);
}

/** The server-side name of the turn to look closely at a row. No name of a lock has a NUL in it, so that none is the same. */
export function turnName(server: Pick<Server, "database" | "variables">, table: string, name: string): Promise<string> {
  return sessionName(server, table, `turn\0${name}`);
}

async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `lockmgr:${hex.slice(0, DIGITS)}`;
}
