import type { Backend } from "./backend.ts";
import type { BackendSettings } from "./options/settings.ts";

/**
 * Options of `connect`: the settings that all engines share, and the options of the engine that the target names, such
 * as `busyTimeout` of `SqliteOptions` or `sessionTimeout` of `PostgresOptions` and `MysqlOptions`.
 *
 * @example
 * ```ts
 * import { connect, type ConnectOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const options: ConnectOptions = { table: "my_locks", busyTimeout: 2 };
 * await using backend = await connect("sqlite::memory:", options);
 * assert.equal(backend.mode, "lease");
 * ```
 */
export interface ConnectOptions extends BackendSettings {
  /** An engine's own option, as its backend function documents it. */
  [option: string]: unknown;
}

/**
 * What makes backends from targets of one kind.
 *
 * @example
 * ```ts
 * import { type Engine, registerEngine, schemaOf } from "@lockmgr/lockmgr";
 * import { engine, sqliteBackend } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * const scratch: Engine = { open: () => sqliteBackend(":memory:"), schema: engine.schema };
 * registerEngine("scratch:", scratch);
 * assert.match(await schemaOf("scratch:"), /CREATE TABLE/);
 * ```
 */
export interface Engine {
  /** Makes a backend from a target, which is passed as it was given: it may hold a password. */
  open(target: string, options: ConnectOptions): Backend | Promise<Backend>;
  /** Returns the statements that create the lock table. `parameters` are those of the target's URL. */
  schema?(table: string, parameters?: ReadonlyMap<string, string>): string;
}
