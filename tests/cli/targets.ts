/**
 * The databases that the command line is tried on.
 *
 * @module
 */
import type { Mode } from "@lockmgr/lockmgr";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { Place } from "./program.ts";

/** A kind of database, and how locks are kept there. */
export interface Target {
  /** For the names of tests. */
  readonly name: string;
  /** How locks are kept. */
  readonly mode: Mode;
  /** Seconds of a lease that a test waits for, and that a busy machine keeps alive. */
  readonly lease: string;
  /** Makes a place with locks of its own. */
  open(): Promise<Place>;
}

/** A file in the place's directory. */
export const sqlite: Target = { name: "sqlite", mode: "lease", lease: "4", open: () => Place.make() };

let tables = 0;

/** A mode of a PostgreSQL, each place with a table of its own. */
export function postgres(server: PostgresServer, mode: Mode): Target {
  return {
    name: `postgres ${mode}`,
    mode,
    lease: "4",
    open: () => Place.make(`${server.url}?lockmgr_mode=${mode}&lockmgr_table=cli_${++tables}`),
  };
}

/** One server for the tests of a file, in some modes; it goes when the tests have ended. */
export async function postgresWith(...modes: Mode[]): Promise<Target[]> {
  const server = await PostgresServer.start();
  return modes.map((mode) => postgres(server, mode));
}

/** Registers a test for each target. */
export function onEach(
  targets: readonly Target[],
  name: string,
  run: (place: Place, target: Target) => Promise<void>,
): void {
  for (const target of targets) {
    test(`${target.name}: ${name}`, async () => {
      await using place = await target.open();
      await run(place, target);
    });
  }
}
