/**
 * The engines: one module each, loaded when it is first wanted, which then offers itself here.
 *
 * @module
 */
import type { Backend } from "./backend.ts";
import type { ConnectOptions } from "./connect.ts";
import { load } from "./verbs/loading.ts";

/** What an engine can do before there is a backend. */
export interface Engine {
  /** Makes a backend from a target of its own kind. */
  open(target: string, options: ConnectOptions): Backend | Promise<Backend>;
  /** The statements that make a table. */
  schema(table: string): string;
  /** The schema that a URL's parameters put an unqualified table in. */
  schemaIn?(parameters: ReadonlyMap<string, string>): string | undefined;
}

/** The engines' folders by the schemes of their URLs. */
const ENGINES: Record<string, string> = {
  "sqlite:": "sqlite",
  "file:": "sqlite",
  "postgres:": "postgres",
  "postgresql:": "postgres",
  "mysql:": "mysql",
  "mariadb:": "mysql",
};

/** The engines that are there, by their folders. */
export const offered: Map<string, Engine> = new Map();

/** The schemes that are known, with their colons. */
export function schemes(): readonly string[] {
  return Object.keys(ENGINES);
}

/**
 * Returns the engine of a known scheme.
 *
 * @throws {BackendError} When the engine's module cannot be loaded.
 */
export async function engineFor(scheme: string): Promise<Engine> {
  const name = ENGINES[scheme];
  if (!offered.has(name)) await load(`../../backends/${name}/mod`, name);
  return offered.get(name)!;
}
