/**
 * Has Spin check the models, and refute what is broken on purpose: `deno task model`; words choose variants by name, as in
 * `deno task model requests`.
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

/** What an assertion says that can fail. */
type OwnedLock =
  | "exclusion"
  | "rising tokens"
  | "held by no client"
  | "permanent unheard"
  | "permanent again"
  | "first come"
  | "left behind"
  | "lost grant"
  | "not granted";

/** One way to read a model, and what Spin must say of it. */
interface Variant {
  readonly name: string;
  readonly flags: readonly string[];
  /** The file beside this one. @default "lock.pml" */
  readonly model?: string;
  /** The assertion that must fail; none must where there is none. */
  readonly refuted?: OwnedLock;
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
  ...([
    { name: "requests, lease", flags: [] },
    { name: "requests, lease, crash", flags: ["CRASHES"] },
    { name: "requests, hybrid", flags: ["HYBRID"] },
    { name: "requests, permanent, crash", flags: ["PERMANENT", "CRASHES"] },
    { name: "requests, statement goes on at the server", flags: ["BREAK_KILL"], refuted: "held by no client" },
    { name: "requests, disposal before the answer", flags: ["BREAK_DISPOSE"], refuted: "held by no client" },
    { name: "requests, nothing undone", flags: ["BREAK_UNDO"], refuted: "held by no client" },
    {
      name: "requests, hybrid, row keeps the old session",
      flags: ["HYBRID", "BREAK_KILL", "BREAK_ADOPT"],
      refuted: "exclusion",
    },
    { name: "requests, lazy release", flags: ["PERMANENT", "CRASHES", "BREAK_LAZY"], refuted: "permanent again" },
    { name: "requests, permanent at once", flags: ["PERMANENT", "BREAK_UNHEARD"], refuted: "permanent unheard" },
  ] satisfies Variant[]).map((variant) => ({ ...variant, model: "requests.pml" })),
  ...([
    { name: "queue", flags: [] },
    { name: "queue, steal", flags: ["STEALS"] },
    { name: "queue, notified", flags: ["TOLD"] },
    { name: "queue, hybrid", flags: ["HYBRID"] },
    { name: "queue, hybrid, notified", flags: ["HYBRID", "TOLD"] },
    { name: "queue, readers and a writer", flags: ["THREE", "READERS"] },
    { name: "queue, limit of 2", flags: ["THREE", "COUNTED"] },
    { name: "queue, earlier callers", flags: ["THREE", "COUNTED", "EARLIER"] },
    { name: "queue, dead waiter", flags: ["THREE", "PROMPT"] },
    { name: "queue, dead waiter without a grace", flags: ["THREE", "PROMPT", "BREAK_GRACE"], refuted: "lost grant" },
    { name: "queue, release by strangers", flags: ["THREE", "BREAK_STRANGERS"], refuted: "exclusion" },
    { name: "queue, reader overtakes", flags: ["THREE", "READERS", "BREAK_OVERTAKE"], refuted: "first come" },
    { name: "queue, callers among the holders", flags: ["THREE", "EARLIER", "BREAK_AMONG"], refuted: "exclusion" },
    { name: "queue, deadline from the receipt on", flags: ["THREE", "TOLD", "BREAK_RECEIPT"], refuted: "exclusion" },
    { name: "queue, confirmation creates", flags: ["TOLD", "BREAK_CONFIRM"], refuted: "left behind" },
    { name: "queue, token of the present holders", flags: ["BREAK_TOKEN"], refuted: "rising tokens" },
  ] satisfies Variant[]).map((variant) => ({ ...variant, model: "queue.pml" })),
  ...([
    { name: "hand-over", flags: [] },
    { name: "hand-over, crash", flags: ["CRASHES"] },
    { name: "hand-over, clock step", flags: ["STEPS"] },
    { name: "hand-over, dead waiter", flags: ["PROMPT"] },
    { name: "hand-over, dead host", flags: ["PROMPT", "SILENT"] },
    { name: "hand-over, deadline from the receipt on", flags: ["BREAK_RECEIPT"], refuted: "not granted" },
    { name: "hand-over, lazy grant", flags: ["CRASHES", "BREAK_LAZY"], refuted: "exclusion" },
    { name: "hand-over, lazy short grant", flags: ["CRASHES", "BREAK_SHORT"], refuted: "not granted" },
    { name: "hand-over, to a waiter that does not listen", flags: ["PROMPT", "BREAK_DEAF"], refuted: "lost grant" },
    { name: "hand-over, ends with the session", flags: ["BREAK_DROP"], refuted: "exclusion" },
    { name: "hand-over, old clock after a step", flags: ["STEPS", "BREAK_STALE"], refuted: "not granted" },
    { name: "hand-over, given up without a release", flags: ["PROMPT", "BREAK_KEPT"], refuted: "lost grant" },
  ] satisfies Variant[]).map((variant) => ({ ...variant, model: "hand_over.pml" })),
  ...([
    { name: "failover", flags: [] },
    { name: "failover, a free lock is trusted everywhere", flags: ["BREAK_TRUST"], refuted: "exclusion" },
    { name: "failover, heartbeats commit nothing", flags: ["BREAK_READS"], refuted: "exclusion" },
    { name: "failover, leases end at once", flags: ["BREAK_SHORTEN"], refuted: "exclusion" },
  ] satisfies Variant[]).map((variant) => ({ ...variant, model: "failover.pml" })),
];

/** What the text of a failed assertion claims. */
const CLAIMS: readonly [text: RegExp, claim: OwnedLock][] = [
  [/highest/, "rising tokens"],
  [/vacant/, "lost grant"],
  [/absent/, "left behind"],
  [/mine/, "not granted"],
  [/tok\[|ahead/, "first come"],
  [/BELIEVES|held\[|deadline/, "exclusion"],
  [/heardOf/, "permanent unheard"],
  [/until!=99/, "permanent again"],
  [/./, "held by no client"],
];

/** What Spin found. */
interface Diagnostic {
  readonly refuted: OwnedLock | undefined;
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
async function verify(
  { flags, model = "lock.pml" }: Variant,
  [spin, ...first]: readonly string[],
): Promise<Diagnostic> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-model-"));
  const file = fileURLToPath(new URL(model, import.meta.url));
  try {
    const here = { cwd: directory, maxBuffer: 1 << 26 };
    await execute(spin, [...first, ...flags.map((flag) => `-D${flag}`), "-a", file], here);
    await execute("cc", ["-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2048", "-o", "pan", "pan.c"], here);
    const { stdout } = await execute(join(directory, "pan"), ["-m1000000", "-E"], here);
    const [, assertion = ""] = /assertion violated (.*)/.exec(stdout) ?? [];
    const refuted = assertion === "" ? undefined : CLAIMS.find(([text]) => text.test(assertion))![1];
    const states = Number(/([\d.e+]+) states, stored/.exec(stdout)?.[1]);
    return { refuted, complete: !/max search depth too small|Search not completed/.test(stdout), states };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Whether Spin says what it must. */
function asWanted({ refuted }: Variant, finding: Diagnostic): boolean {
  return finding.refuted === refuted && (refuted !== undefined || finding.complete);
}

if (import.meta.main) {
  if (!await runs(["cc"], "--version")) {
    console.log("skipped: cc is not installed (Debian: apt-get install gcc)");
    process.exit(0);
  }
  const spin = await findSpin();
  const words = process.argv.slice(2);
  for (const variant of variants.filter(({ name }) => words.every((word) => name.includes(word)))) {
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
