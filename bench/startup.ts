/**
 * What importing the library costs: the start of a program that imports it against that of an empty one, in turns.
 * The ratio shall be 1.15 at most.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inTurns, report } from "./rounds.ts";

const LIMIT = 1.15;

const library = fileURLToPath(new URL("../mod.ts", import.meta.url));
const flags = "Deno" in globalThis ? ["run", "--no-lock", "--no-config"] : [];

function run(program: string): void {
  const { status, stderr } = spawnSync(process.execPath, [...flags, program], { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot run ${program}: it ended with ${status}\n${stderr}`);
}

const directory = await mkdtemp(join(tmpdir(), "lockmgr-bench-"));
try {
  const [empty, importing] = [join(directory, "empty.ts"), join(directory, "importing.ts")];
  await writeFile(empty, "export {};\n");
  await writeFile(importing, `import ${JSON.stringify(pathToFileURL(library).href)};\n`);
  const taken = await inTurns({ empty: () => run(empty), importing: () => run(importing) }, {
    rounds: Number(process.argv[2] ?? 40),
    times: 1,
    warmUp: 3,
  });
  report("an empty program", taken.empty, "ms");
  report("a program that imports mod.ts", taken.importing, "ms");
  report(`ratio, ${LIMIT} at most`, taken.importing.map((ms, round) => ms / taken.empty[round]), "");
} finally {
  await rm(directory, { recursive: true });
}
