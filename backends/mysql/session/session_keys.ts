import type { Hash } from "node:crypto";
import { builtin } from "../../../core/util/runtime.ts";
import type { Server } from "../connection/server.ts";

/** How many hexadecimal digits of the digest fit beside the prefix in the 64 characters that MySQL allows. */
const DIGITS = 56;

/** The database and the table that a name of a table leads to, which is one however it is written. */
function tableOf({ database, variables }: Pick<Server, "database" | "variables">, table: string): string[] {
  const [name, within = database] = table.split(".").reverse();
  const folds = variables.get("lower_case_table_names") !== "0";
  return folds ? [within.toLowerCase(), name.toLowerCase()] : [within, name];
}

/**
 * The server's key of a session lock: a digest, because GET_LOCK takes 64 characters at most, folds case on MySQL and not
 * on MariaDB, and knows no databases. 224 bits: two names never share one.
 */
export function sessionKey(server: Pick<Server, "database" | "variables">, table: string, name: string): string {
  const { createHash } = builtin<{ createHash(algorithm: string): Hash }>("node:crypto")!; // there as sockets are
  const text = [...tableOf(server, table), name].join("\0");
  return `lockmgr:${createHash("sha256").update(text).digest("hex").slice(0, DIGITS)}`;
}
