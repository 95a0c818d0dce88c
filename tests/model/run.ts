/**
 * Has Spin check the model, and refute what is broken on purpose: `deno task model`.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { commandIn, unpack } from "../servers/debian.ts";

const execute = promisify(execFile);
const model = fileURLToPath(new URL("lock.pml", import.meta.url));

/** One way to read the model, and what Spin must say of it. */
interface Variant {
  readonly name: string;
  readonly flags: readonly string[];
  /** The assertion that must fail; none must where there is none. */
  readonly refuted?: "exclusion" | "rising tokens";
}

/** All of them. */
const variants: readonly Variant[] = [
  { name: "lease", flags: [] },
  { name: "hybrid", flags: ["HYBRID"] },
  { name: "lease, deadline from the answer on", flags: ["BREAK_ANSWERED"], refuted: "exclusion" },
  { name: "lease, release by strangers", flags: ["BREAK_STRANGERS"], refuted: "exclusion" },
  { name: "lease, clean-up without a grace", flags: ["BREAK_SWEEP"], refuted: "rising tokens" },
  { name: "hybrid, deadline from the answer on", flags: ["HYBRID", "BREAK_ANSWERED"], refuted: "exclusion" },
  { name: "hybrid, client gives up after the server", flags: ["HYBRID", "BREAK_TOLD"], refuted: "exclusion" },
];

/** What Spin found. */
interface Finding {
  readonly refuted: "exclusion" | "rising tokens" | undefined;
  /** Whether it has looked at every state. */
  readonly complete: boolean;
  readonly states: number;
}

/** Whether a program runs. */
async function runs([program, ...parameters]: readonly string[], question: string): Promise<boolean> {
  try {
    await execute(program, [...parameters, question]);
    return true;
  } catch {
    return false;
  }
}

/** How Spin is started: the one that is installed, else Debian's, unpacked into the cache of the tests. */
async function findSpin(): Promise<[command: string, ...first: string[]]> {
  if (await runs(["spin"], "-V")) return ["spin"];
  return await commandIn(await unpack({ suite: "bookworm", packages: ["libc6"], alone: ["spin"] }), "usr/bin/spin");
}

/** Checks one variant with a Spin. */
async function verify({ flags }: Variant, [spin, ...first]: readonly string[]): Promise<Finding> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-model-"));
  try {
    const here = { cwd: directory, maxBuffer: 1 << 26 };
    await execute(spin, [...first, ...flags.map((flag) => `-D${flag}`), "-a", model], here);
    await execute("cc", ["-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2048", "-o", "pan", "pan.c"], here);
    const { stdout } = await execute(join(directory, "pan"), ["-m1000000", "-E"], here);
    const [, assertion = ""] = /assertion violated (.*)/.exec(stdout) ?? [];
    const refuted = assertion === "" ? undefined : assertion.includes("highest") ? "rising tokens" : "exclusion";
    const states = Number(/([\d.e+]+) states, stored/.exec(stdout)?.[1]);
    return { refuted, complete: !/max search depth too small|Search not completed/.test(stdout), states };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Whether Spin says what it must. */
function asWanted({ refuted }: Variant, finding: Finding): boolean {
  return finding.refuted === refuted && (refuted !== undefined || finding.complete);
}

if (import.meta.main) {
  if (!await runs(["cc"], "--version")) {
    console.log("skipped: cc is not installed (Debian: apt-get install gcc)");
    process.exit(0);
  }
  const spin = await findSpin();
  for (const variant of variants) {
    const startedAt = performance.now();
    const finding = await verify(variant, spin);
    const { refuted, states, complete } = finding;
    const said = refuted ? `refuted: ${refuted}` : complete ? "holds in every state" : "not decided";
    const seconds = ((performance.now() - startedAt) / 1e3).toFixed(1);
    const well = asWanted(variant, finding);
    console.log(`${well ? "ok" : "WRONG"}  ${variant.name}: ${said}, ${states} states, ${seconds} s`);
    if (!well) process.exitCode = 1;
  }
}
