/**
 * Node and Bun, with the sources in a folder where they find them.
 *
 * @module
 */
import { join } from "node:path";
import { copyTree, lower } from "../tests/running/lowering.ts";
import { makeStageFor } from "../tests/running/stages.ts";
import { programOf } from "../tests/runtimes/installing.ts";
import { runtimes } from "../tests/runtimes/runtimes.ts";
import type { Runner } from "./workers.ts";

/** The other runtimes, until disposal. */
export interface OtherRunners extends AsyncDisposable {
  readonly runners: readonly Runner[];
}

const NAMES = ["Node 24", "Bun"];

/** Makes the folder and finds the programs. */
export async function otherRunners(): Promise<OtherRunners> {
  const stage = await makeStageFor("source");
  try {
    await copyTree("bench", join(stage.directory, "bench"));
    await lower(join(stage.directory, "bench"));
    const runners: Runner[] = [];
    for (const runtime of runtimes.filter(({ name }) => NAMES.includes(name))) {
      const flags = runtime.kind === "node" ? ["--no-warnings"] : [];
      runners.push({ name: runtime.name, command: [await programOf(runtime), ...flags], root: stage.directory });
    }
    return { runners, [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose]() };
  } catch (error) {
    await stage[Symbol.asyncDispose]();
    throw error;
  }
}

/** Sorts what was measured under `runner/program` by the runner. */
export function byRunner<Measured>(
  taken: Readonly<Record<string, Measured>>,
): Record<string, Record<string, Measured>> {
  const sorted: Record<string, Record<string, Measured>> = {};
  for (const [key, measured] of Object.entries(taken)) {
    const [runner, program] = key.split("/");
    (sorted[runner] ??= {})[program] = measured;
  }
  return sorted;
}
