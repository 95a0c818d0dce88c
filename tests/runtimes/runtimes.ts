/**
 * The runtimes that the project is checked on beside Deno, which runs the checks.
 *
 * @module
 */
import process from "node:process";

/** One runtime, and where npm has it. */
export interface Runtime {
  /** What people say, such as `Node 22`. */
  readonly name: string;
  /** Whose test runner it has. */
  readonly kind: "node" | "bun";
  /** The npm package whose file `executable` is the program itself, so that nothing depends on an install script. */
  readonly package: string;
  /** Which version of the package. */
  readonly version: string;
  /** The program in the package. */
  readonly executable: string;
  /** Whether it runs the conformance suite over the server engines too: one Node and Bun do, it takes minutes. */
  readonly servers: boolean;
}

const system = process.platform === "win32" ? "win" : process.platform;
const suffix = process.platform === "win32" ? ".exe" : "";

function node(name: string, version: string, servers: boolean): Runtime {
  return {
    name,
    kind: "node",
    package: `node-${system}-${process.arch}`,
    version,
    executable: `bin/node${suffix}`,
    servers,
  };
}

/** Bun for this machine; on x64 the build that needs no AVX2. */
function bun(): Runtime {
  const machine = process.arch === "arm64" ? "aarch64" : `${process.arch}-baseline`;
  const where = process.platform === "win32" ? "windows" : process.platform;
  return {
    name: "Bun",
    kind: "bun",
    package: `@oven/bun-${where}-${machine}`,
    version: "latest",
    executable: `bin/bun${suffix}`,
    servers: true,
  };
}

/** The oldest line of Node that is served, the long-term one, the current one, and Bun. */
export const runtimes: readonly Runtime[] = [
  node("Node 22", "22", false),
  node("Node 24", "24", true),
  node("Node current", "latest", false),
  bun(),
];

/** The oldest Node that is served: without types stripped and `using` by itself, so it runs programs and not the tests. */
export const oldestNode: Runtime = node("Node 22.13", "22.13.0", false);
