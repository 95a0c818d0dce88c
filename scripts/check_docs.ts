/**
 * Fails when an exported symbol has no documentation as `deno doc --lint` wants it, or no example that the tests run.
 *
 * @module
 */
import process from "node:process";
import { entryPoints } from "../tests/guards/graph.ts";
import { command } from "../tests/runtimes/command.ts";

/** What is read of the answer of `deno doc --json`. */
interface Documentation {
  readonly nodes: Record<string, {
    readonly symbols: readonly {
      readonly name: string;
      readonly declarations: readonly {
        readonly location: { readonly filename: string; readonly line: number };
        readonly jsDoc?: { readonly tags?: readonly { readonly kind: string; readonly doc?: string }[] };
      }[];
    }[];
  }>;
}

async function deno(...parameters: string[]): Promise<string> {
  const { code, stdout, output } = await command(process.execPath, parameters);
  if (code === 0) return stdout;
  console.error(output);
  process.exit(1);
}

/** Symbols of an entry point without an example in TypeScript that is run. */
async function withoutExample(entry: string): Promise<string[]> {
  const { nodes } = JSON.parse(await deno("doc", "--quiet", "--json", entry)) as Documentation;
  const symbols = Object.values(nodes).flatMap(({ symbols }) => symbols);
  return symbols.filter(({ declarations }) => {
    const tags = declarations.flatMap(({ jsDoc }) => jsDoc?.tags ?? []);
    return !tags.some(({ kind, doc }) => kind === "example" && /```ts\n/.test(doc ?? ""));
  }).map(({ name, declarations: [{ location }] }) => `${name} (${location.filename.replace(/.*\//, "")})`);
}

const entries = await entryPoints();
await deno("doc", "--lint", ...entries);
let missing = 0;
for (const entry of entries) {
  for (const symbol of await withoutExample(entry)) {
    console.error(`${entry}: ${symbol} has no example`);
    missing++;
  }
}
console.log(missing === 0 ? "Every exported symbol has an example" : `${missing} exported symbols have no example`);
process.exit(missing === 0 ? 0 : 1);
