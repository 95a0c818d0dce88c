/**
 * The databases that lock managers are tested on: SQLite on every runtime, PostgreSQL where servers are tested.
 *
 * @module
 */
import { type Backend, connect } from "@lockmgr/lockmgr";
import process from "node:process";
import { PostgresServer } from "../servers/postgres.ts";
import { place } from "../sqlite/place.ts";

const server = process.env.LOCKMGR_TEST_ENGINES?.split(",").includes("postgres") ?? true
  ? await PostgresServer.start()
  : undefined;

let tables = 0;

/** A store of one test's own. */
export interface Store extends AsyncDisposable {
  /** Its address. */
  readonly url: string;
  /** Opens a client of it. */
  open(): Promise<Backend>;
}

async function sqlite(): Promise<Store> {
  const { path, [Symbol.asyncDispose]: remove } = await place();
  const url = `sqlite:${path}`;
  return { url, open: () => connect(url), [Symbol.asyncDispose]: remove };
}

function postgres(mode: "lease" | "hybrid" | "session"): () => Promise<Store> {
  return () => {
    const url = `${server!.url}?lockmgr_mode=${mode}&lockmgr_table=web_${tables++}`;
    return Promise.resolve({ url, open: () => connect(url), [Symbol.asyncDispose]: () => Promise.resolve() });
  };
}

/** Makes a store, by the name of the engine and mode. */
export const stores: Readonly<Record<string, () => Promise<Store>>> = {
  sqlite,
  ...(server ? { postgres: postgres("lease") } : {}),
  ...(server && "Deno" in globalThis ? { "postgres hybrid": postgres("hybrid") } : {}),
};

/** Makes a store without rows, where a server is tested. */
export const sessionStore: (() => Promise<Store>) | undefined = server && postgres("session");
