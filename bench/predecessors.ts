/**
 * The three systems that this library succeeds, in Python through Django.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { startDjango } from "../tests/servers/django.ts";
import { enginesOf, labels, type Places } from "./places.ts";
import { speakWith, type Worker } from "./workers.ts";

/** Who they are, and where each can be measured. */
export function predecessors(places: Places): string[] {
  const on = (name: string, engines: readonly string[]) =>
    enginesOf(places).filter((engine) => engines.includes(engine)).map((engine) => `${name} on ${labels[engine]}`);
  return [
    ...on("django-lockmgr", Object.keys(labels)),
    ...on("django-pglocks", ["postgres"]),
    ...on("django-mysql", ["mysql", "mariadb"]),
  ];
}

/** Starts the process of all of them. */
export function startPredecessors(): Worker {
  const script = fileURLToPath(new URL("predecessors.py", import.meta.url));
  const worker = startDjango(script, []).then(speakWith);
  return {
    do: async (order) => await (await worker).do(order),
    [Symbol.asyncDispose]: async () => await (await worker)[Symbol.asyncDispose](),
  };
}
