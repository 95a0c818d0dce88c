/**
 * What does the work, loaded with the first call and not before. Deno reads every module that is named in a literal
 * at every start of a program, also behind `import()`: half a percent of an empty program's start for each. So the
 * modules are named by computed paths here. Where modules are bundled, importing an engine brings all that it needs.
 *
 * @module
 */
import { BackendError } from "../errors.ts";

/** The modules that do the work. */
export type Work = typeof import("./work.ts");

let loading: Promise<Work> | undefined;
let loaded: Work | undefined;

/** Loads a module of this library by its path from here, without the extension. */
export async function load<T>(path: string, bundled: string): Promise<T> {
  const extension = import.meta.url?.endsWith(".ts") ? "ts" : "js"; // of the sources, else of the package for npm
  const specifier = `${path}.${extension}`;
  try {
    return await import(specifier);
  } catch (cause) {
    throw new BackendError(
      `Cannot load ${JSON.stringify(specifier)}: ${(cause as Error).message}; where modules are bundled, want ` +
        `import "@lockmgr/lockmgr/${bundled}" first`,
      { cause },
    );
  }
}

/** Hands over the modules that do the work, so that they need no loading. */
export function bring(work: Work): void {
  loaded = work;
}

/** What does the work, for a lock: whatever granted one has loaded it. */
export function atHand(): Work {
  if (!loaded) throw new TypeError("Cannot make a lock of nothing: want a call that takes one first");
  return loaded;
}

/**
 * Does something with the modules that do the work: at once, unless they must be loaded first. Calls that came while
 * they were being loaded go on in the order in which they came.
 */
export function atWork<T>(use: (work: Work) => Promise<T>): Promise<T> {
  if (loaded) return use(loaded);
  loading ??= load<Work>("./work", "sqlite");
  return loading.then((work) => use(loaded = work), (error) => {
    loading = undefined;
    throw error;
  });
}
