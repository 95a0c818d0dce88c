import type { Backend, Mode } from "@lockmgr/lockmgr";
import { capabilitiesOf, type Case, type Fixture, LOSING_PAUSE_MS, unlessPaused } from "./case.ts";
import { checkMembers } from "./members.ts";
import { acquiring } from "./cases/acquiring.ts";
import { adopting } from "./cases/adopting.ts";
import { closing } from "./cases/closing.ts";
import { batches } from "./cases/batches.ts";
import { defects } from "./cases/defects.ts";
import { holding } from "./cases/holding.ts";
import { keeping } from "./cases/keeping.ts";
import { leading } from "./cases/leading.ts";
import { listing } from "./cases/listing.ts";
import { managing } from "./cases/managing.ts";
import { naming } from "./cases/naming.ts";
import { options } from "./cases/options.ts";
import { properties } from "./cases/properties.ts";
import { queueing } from "./cases/queueing.ts";
import { records } from "./cases/records.ts";
import { renewing } from "./cases/renewing.ts";
import { seam } from "./cases/seam.ts";
import { setting } from "./cases/setting.ts";
import { several } from "./cases/several.ts";
import { waiting } from "./cases/waiting.ts";
import { watching } from "./cases/watching.ts";

const CASES: readonly Case[] = [
  ...seam,
  ...acquiring,
  ...adopting,
  ...closing,
  ...batches,
  ...defects,
  ...holding,
  ...keeping,
  ...leading,
  ...listing,
  ...managing,
  ...naming,
  ...options,
  ...properties,
  ...queueing,
  ...records,
  ...renewing,
  ...setting,
  ...several,
  ...waiting,
  ...watching,
];

/** What `supports` may have, by type. */
const SUPPORTS = {
  mode: "string",
  expiredRows: "boolean",
  queueing: "boolean",
  keeping: "boolean",
  adopting: "boolean",
};

/** A case that takes longer hangs (ms): the longest takes seconds, and not every runner has a limit. */
const LONGEST_CASE_MS = 120_000;

/**
 * What a backend supports beyond the least that every backend must do. It chooses the cases.
 *
 * @example
 * ```ts
 * import type { Supports } from "@lockmgr/lockmgr/conformance";
 *
 * const supports: Supports = { mode: "lease", expiredRows: false, queueing: false, keeping: false, adopting: false };
 * console.log(supports);
 * ```
 */
export interface Supports {
  /** The `mode` of the backend. Cases about expiry, renewal and force are left out for `"session"`. @default "lease" */
  readonly mode?: Mode;
  /**
   * Whether an expired lock can be listed with `includeExpired` until `clean`. Set it to `false` for a store that deletes
   * expired locks by itself. @default true
   */
  readonly expiredRows?: boolean;
  /**
   * Whether the backend has `queueing`. `false` leaves out the cases about the order between clients, `shared`, `limit`,
   * `steal`, `waiters` and `wanted`. Without this option and the next two, those cases are there, and pass without a look
   * where the backend cannot do it.
   */
  readonly queueing?: boolean;
  /** Whether the backend has `keeping`. `false` leaves out the cases about `holdAtLeast`. */
  readonly keeping?: boolean;
  /** Whether the backend has `adopt`. `false` leaves out the cases about `detach` and `adoptLock`. */
  readonly adopting?: boolean;
}

/**
 * Options of {@linkcode conformance}.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import type { ConformanceOptions } from "@lockmgr/lockmgr/conformance";
 *
 * const names: string[] = [];
 * const options: ConformanceOptions = { test: (name) => names.push(name), open: () => connect("sqlite:locks.db") };
 * console.log(options);
 * ```
 */
export interface ConformanceOptions {
  /** Registers one test: `test` of `node:test`, `bun:test` or vitest, `Deno.test`, or mocha's `it`. */
  readonly test: (name: string, body: () => Promise<void>) => unknown;
  /** Opens a further client of the one store, as another process would. The suite disposes of each. */
  readonly open: () => Backend | Promise<Backend>;
  /** What the backend supports. @default {} */
  readonly supports?: Supports;
}

/**
 * Registers the conformance suite for a backend: about 190 tests, each named for the promise that it checks. A test that
 * fails says which promise the backend breaks.
 *
 * The tests share the store, so they must run one after the other, as these runners do by default. Before each test all
 * locks in the store are removed: use one that has no other locks. Allow each test a minute, which is more than vitest,
 * mocha and `bun:test` allow by default.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { conformance } from "@lockmgr/lockmgr/conformance";
 * import { mkdtempSync } from "node:fs";
 * import { tmpdir } from "node:os";
 *
 * const path = `${mkdtempSync(`${tmpdir()}/conformance-`)}/locks.db`;
 * const bodies: (() => Promise<void>)[] = [];
 * const test = (_name: string, body: () => Promise<void>) => bodies.push(body); // or import { test } from "node:test"
 * conformance({ test, open: () => connect(`sqlite:${path}`) });
 * await bodies[0](); // a runner runs them all
 * ```
 *
 * @param options The runner's `test`, what opens a client, and what the backend supports.
 * @throws {TypeError} For an option that is missing or unknown.
 */
export function conformance(options: ConformanceOptions): void {
  const what = "register the conformance suite";
  checkMembers(what, options, { test: "function", open: "function", supports: "object" });
  const { test, open, supports = {} } = options;
  checkMembers(what, supports, SUPPORTS);
  if (test === undefined || open === undefined) throw new TypeError(`Cannot ${what}: want \`test\` and \`open\``);
  const { mode = "lease", expiredRows = true } = supports;
  const openFixture = () => startFixture(open, { ...supports, mode });
  for (const { name, rows, renews, needs, run } of CASES) {
    if (rows && mode === "session" || needs && supports[needs] === false) continue;
    const attempt = () =>
      runCase(openFixture, async (fixture) => {
        if (needs && !capabilitiesOf(fixture.backend)[needs]) return;
        await run(fixture, { mode, expiredRows, open: openFixture });
      });
    const check = () => renews ? unlessPaused(attempt, LOSING_PAUSE_MS) : attempt();
    test(name, () => check().catch((error) => Promise.reject(brokenPromise(name, error))));
  }
}

async function runCase(open: () => Promise<Fixture>, run: (fixture: Fixture) => Promise<void>): Promise<void> {
  const fixture = await open();
  try {
    await withLimit(run(fixture));
  } catch (error) {
    await Promise.resolve(fixture[Symbol.asyncDispose]()).catch(() => {}); // the first error counts
    throw error;
  }
  await fixture[Symbol.asyncDispose]();
}

/** The error of a failed case. Its message is the whole of what some runners show. */
function brokenPromise(name: string, error: unknown): Error {
  const reason = error instanceof Error ? error.message : String(error);
  return new Error(`Cannot keep the promise ${JSON.stringify(name)}: ${reason}`, { cause: error });
}

async function withLimit(run: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    const hangs = () => reject(new Error(`it has not ended after ${LONGEST_CASE_MS / 1e3} s`));
    timer = setTimeout(hangs, LONGEST_CASE_MS);
  });
  await Promise.race([run, limit]).finally(() => clearTimeout(timer));
}

/** Opens the first client of a store and removes what an earlier case has left in it. */
async function startFixture(open: () => Backend | Promise<Backend>, supports: Supports): Promise<Fixture> {
  const opened: Backend[] = [];
  const another = async () => {
    const backend = await open();
    opened.push(backend);
    return backend;
  };
  const backend = await another();
  const dispose = async () => {
    for (const each of opened.reverse()) await each[Symbol.asyncDispose]();
  };
  try {
    checkSupports(backend, supports);
    if (backend.mode !== "session") await backend.clean("all");
  } catch (error) {
    await dispose();
    throw error;
  }
  return { backend, another, [Symbol.asyncDispose]: dispose };
}

/** Refuses a backend that is another than `supports` says: its cases would be the wrong ones. */
function checkSupports(backend: Backend, supports: Supports): void {
  const actual = { mode: backend.mode, ...capabilitiesOf(backend) };
  for (const key of Object.keys(actual) as (keyof typeof actual)[]) {
    const [is, has] = [actual[key], supports[key] ?? actual[key]].map((value) => JSON.stringify(value));
    if (is !== has) throw new Error(`the backend's ${key} is ${is}, \`supports\` has ${has}`);
  }
}
