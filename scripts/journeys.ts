/**
 * Counts the files and functions of this project that run in one warm call, by V8's precise coverage, on private
 * servers: a measure of how much code a reader must follow. `deno task journeys [WORDS]`: words choose rows.
 *
 * @module
 */
import { Session } from "node:inspector/promises";
import process from "node:process";
import { type Backend, connect, getLock } from "../mod.ts";
import { startMysql } from "../tests/servers/mysql.ts";
import { PostgresServer } from "../tests/servers/postgres.ts";

/** How often each journey is measured; the smallest counts leave out what happened to run beside it. */
const ROUNDS = 7;
const PUBLISHED = /\/(mod\.ts|(?:core|backends)\/.*\.ts)$/;
const ROOT = new URL("../", import.meta.url).href;

/** What ran during one call. */
interface Counts {
  readonly files: number;
  readonly functions: number;
  readonly calls: number;
  /** Each function as `file: name × calls`, for `--list`. */
  readonly names: readonly string[];
}

/** What precise coverage says of one function. */
interface FunctionCoverage {
  readonly functionName: string;
  readonly ranges: readonly { readonly startOffset: number; readonly count: number }[];
}

/** One journey: prepares a call, measures it between two calls of `take`, and tidies up. */
type Journey = (round: number) => Promise<Counts>;

const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });

/** Returns what ran since the last call, and resets the counters. */
async function take(): Promise<Counts> {
  const { result } = await session.post("Profiler.takePreciseCoverage") as {
    result: readonly { readonly url: string; readonly functions: readonly FunctionCoverage[] }[];
  };
  let [files, functions, calls] = [0, 0, 0];
  const names: string[] = [];
  for (const script of result.filter(({ url }) => url.startsWith(ROOT) && PUBLISHED.test(url))) {
    const ran = script.functions.filter(({ ranges: [{ count }] }) => count > 0);
    if (ran.length > 0) files++;
    functions += ran.length;
    for (const { functionName, ranges: [{ count, startOffset }] } of ran) {
      calls += count;
      names.push(`${script.url.slice(ROOT.length)}: ${functionName || `(anonymous at ${startOffset})`} × ${count}`);
    }
  }
  return { files, functions, calls, names };
}

/** `getLock` of a name that was never used. */
function acquiring(backend: Backend): Journey {
  return async (round) => {
    await take();
    const lock = await getLock(`acquire-${round}`, { backend });
    const counts = await take();
    await lock.unlock();
    return counts;
  };
}

/** `lock.unlock()`. */
function releasing(backend: Backend): Journey {
  return async (round) => {
    const lock = await getLock(`release-${round}`, { backend });
    await take();
    await lock.unlock();
    return await take();
  };
}

/** A release in one backend, until a waiter of another holds the lock. */
function handingOver(from: Backend, to: Backend): Journey {
  return async (round) => {
    const name = `hand-over-${round}`;
    const lock = await getLock(name, { backend: from });
    const waiter = getLock(name, { backend: to, wait: 10 });
    await new Promise((resolve) => setTimeout(resolve, 300)); // the waiter is registered
    await take();
    await lock.unlock();
    const next = await waiter;
    const counts = await take();
    await next.unlock();
    return counts;
  };
}

const wanted = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const listing = process.argv.includes("--list");

async function print(name: string, journey: Journey): Promise<void> {
  if (wanted.length > 0 && !wanted.some((word) => name.toLowerCase().includes(word.toLowerCase()))) return;
  let best: Counts | undefined;
  for (let round = 0; round < ROUNDS + 2; round++) {
    const counts = await journey(round);
    const warm = round >= 2;
    if (warm && (best === undefined || counts.functions < best.functions)) best = counts;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const cells = [best!.files, best!.functions, best!.calls].map((count) => String(count).padStart(10));
  console.log(name.padEnd(36) + cells.join(""));
  if (listing) { for (const each of best!.names) console.log(`    ${each}`); }
}

console.log("journey".padEnd(36) + ["files", "functions", "calls"].map((head) => head.padStart(10)).join(""));
{
  await using server = await PostgresServer.start();
  await using backend = await connect(server.url, { mode: "lease" });
  await using other = await connect(server.url, { mode: "lease" });
  await print("PostgreSQL lease getLock", acquiring(backend));
  await print("PostgreSQL lease unlock", releasing(backend));
  await print("PostgreSQL lease release to grant", handingOver(backend, other));
}
{
  await using server = await startMysql();
  await using backend = await connect(server.url, { mode: "session" });
  await print("MySQL session getLock", acquiring(backend));
  await print("MySQL session unlock", releasing(backend));
}
process.exit(0);
