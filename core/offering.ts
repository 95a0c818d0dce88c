/**
 * How an engine makes itself known.
 *
 * @module
 */
import { type Engine, offered } from "./engines.ts";
import { bring } from "./verbs/loading.ts";
import * as work from "./verbs/work.ts";

/**
 * Called by the module of an engine: `connect` then finds it, and the verbs what does their work, without loading
 * anything. So a program whose modules are bundled needs no more than to import the engine.
 */
export function offerEngine(name: string, engine: Engine): void {
  offered.set(name, engine);
  bring(work);
}
