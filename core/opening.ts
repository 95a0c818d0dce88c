/**
 * Which engine a target means, and what is made of it.
 *
 * @module
 */
import type { Backend } from "./backend.ts";
import type { ConnectOptions } from "./connect.ts";
import { engineFor } from "./engines.ts";
import { BackendError } from "./errors.ts";
import { builtin, stateDirectory } from "./runtime.ts";
import { resolveSettings, takeSettings } from "./settings.ts";

/** A bare path is an SQLite file. */
const PATH_SCHEME = "sqlite:";

/** The scheme of a URL; a bare path has none, nor has a drive letter. */
function schemeOf(target: string): string | undefined {
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.exec(target)?.[0].toLowerCase();
}

/** The embedded default: one file for all programs of this user, whatever their working directory. */
async function defaultTarget(): Promise<string> {
  const directory = stateDirectory();
  const files = builtin<typeof import("node:fs/promises")>("node:fs/promises");
  try {
    await files?.mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new BackendError(
      `Cannot make the state directory ${JSON.stringify(directory)}: ${(cause as Error).message}; want LOCKMGR_URL`,
      { cause },
    );
  }
  return `${directory}/locks.db`;
}

/** `connect`, as it is promised there. */
export async function open(target: string | URL | undefined, options: ConnectOptions): Promise<Backend> {
  const given = target === undefined ? await defaultTarget() : String(target);
  if (given === "") throw new TypeError("Cannot connect to an empty target: want a URL or the path of an SQLite file");
  const engine = await engineFor(schemeOf(given) ?? PATH_SCHEME);
  return await engine.open(given, options);
}

/** `schemaOf`, as it is promised there. */
export async function schemaFor(
  target: string | URL | undefined,
  options: Pick<ConnectOptions, "table">,
): Promise<string> {
  const given = target === undefined ? "" : String(target);
  const { schema } = await engineFor(schemeOf(given) ?? PATH_SCHEME);
  const parameters = new URLSearchParams(/\?([^#]*)/.exec(given)?.[1] ?? "");
  return schema(resolveSettings({ ...takeSettings(parameters), ...options }).table);
}
