/**
 * Which engine a target means, and what is made of it.
 *
 * @module
 */
import type { Backend } from "./backend.ts";
import type { ConnectOptions } from "./connect.ts";
import { engineFor } from "./engines.ts";
import { BackendError } from "./errors.ts";
import { builtin, environment, stateDirectory } from "./util/runtime.ts";
import { inSchema, resolveSettings } from "./options/settings.ts";
import { describe, parseTarget } from "./options/target.ts";

/** The value of `LOCKMGR_URL` that forbids the default file. */
const REQUIRED = /^required$/i;

/** Returns the target that was given, else the environment's, else `undefined` for the default file. */
function chosenTarget(target: unknown): unknown {
  const chosen = target === undefined ? environment("LOCKMGR_URL")?.trim() || undefined : target;
  if (typeof chosen !== "string" || !REQUIRED.test(chosen.trim())) return chosen;
  throw new BackendError(
    "Cannot use the default database: LOCKMGR_URL=required forbids it, and no other was named; " +
      "want LOCKMGR_URL to be the database's URL, or a backend passed to the call",
  );
}

/** One file for all programs of this user, whatever their working directory. */
function defaultFile(): { directory: string; target: string } {
  let directory: string;
  try {
    directory = stateDirectory();
  } catch (cause) {
    throw new BackendError(
      `Cannot find the state directory for the default database: ${(cause as Error).message}; want LOCKMGR_URL`,
      { cause },
    );
  }
  return { directory, target: `sqlite:${encodeURI(`${directory}/locks.db`).replace(/[?#]/g, encodeURIComponent)}` };
}

/** The default file's URL, with its directory made. */
async function defaultTarget(): Promise<string> {
  const { directory, target } = defaultFile();
  const files = builtin<typeof import("node:fs/promises")>("node:fs/promises");
  try {
    await files?.mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new BackendError(
      `Cannot make the state directory ${JSON.stringify(directory)}: ${(cause as Error).message}; want LOCKMGR_URL`,
      { cause },
    );
  }
  return target;
}

/** `connect`, as it is promised there. */
export async function open(target: string | URL | undefined, options: ConnectOptions): Promise<Backend> {
  const chosen = chosenTarget(target);
  const { scheme, text } = parseTarget(chosen === undefined ? await defaultTarget() : chosen);
  const engine = await engineFor(scheme);
  return await engine.open(text, options);
}

/** `schemaOf`, as it is promised there. */
export async function schemaFor(
  target: string | URL | undefined,
  options: Pick<ConnectOptions, "table">,
): Promise<string> {
  const chosen = chosenTarget(target);
  const { scheme, settings, parameters } = parseTarget(chosen === undefined ? "sqlite::memory:" : chosen);
  const { schema, schemaIn } = await engineFor(scheme);
  const { table } = resolveSettings({ ...settings, ...options });
  return schema(inSchema(table, schemaIn?.(parameters)));
}

/** `describeTarget`, as it is promised there. */
// deno-lint-ignore require-await -- what is thrown must reject
export async function describeFor(target: string | URL | undefined): Promise<string> {
  const chosen = chosenTarget(target);
  return describe(parseTarget(chosen === undefined ? defaultFile().target : chosen));
}
