/**
 * The options that each verb knows, and the one check that a call names no others: a misspelt option would silently do
 * nothing.
 *
 * @module
 */
import type { Backend } from "../backend.ts";
import type {
  AdoptOptions,
  BackendOptions,
  HolderOptions,
  LeadOptions,
  ListOptions,
  LockMgrLockOptions,
  LockMgrOptions,
  LockMgrRenewOptions,
  LockOptions,
  RenewOptions,
  SetLockOptions,
  WatchOptions,
} from "./option_types.ts";
import { hasMethods } from "./refused_client.ts";

/** The options of a call with their types: a value that stands where options belong is taken for the first of its type. */
export type KnownOptions<Options> = Readonly<
  Record<keyof Options & string, "number" | "string" | "boolean" | "object">
>;

const BACKEND: KnownOptions<BackendOptions> = { backend: "object" };
const HOLDER: KnownOptions<HolderOptions> = { lockedBy: "string", lockProcess: "number" };
const EXPIRES = { expires: "number" } as const;

const LOCK: KnownOptions<LockOptions> = {
  ...EXPIRES,
  ...HOLDER,
  wait: "number",
  signal: "object",
  autoRenew: "boolean",
  metadata: "object",
  shared: "boolean",
  limit: "number",
  steal: "boolean",
  holdAtLeast: "number",
  ...BACKEND,
};

const { shared: _shared, limit: _limit, steal: _steal, holdAtLeast: _holdAtLeast, ...MANAGER }: KnownOptions<
  LockOptions
> = LOCK;
const LEAD: KnownOptions<LeadOptions> = {
  ...EXPIRES,
  signal: "object",
  lockedBy: "string",
  metadata: "object",
  ...BACKEND,
};
const RENEW: KnownOptions<LockMgrRenewOptions> = { ...EXPIRES, addTime: "boolean", create: "boolean", ...HOLDER };

/** The options of the verbs. */
const VERBS = {
  getLock: LOCK,
  tryLock: LOCK,
  withLock: LOCK,
  getLocks: LOCK,
  lead: LEAD,
  renewLock: { ...RENEW, ...BACKEND } satisfies KnownOptions<RenewOptions>,
  adoptLock: { ...EXPIRES, ...HOLDER, autoRenew: "boolean", ...BACKEND } satisfies KnownOptions<AdoptOptions>,
  unlock: BACKEND,
  isLocked: BACKEND,
  cleanLocks: BACKEND,
  resetLocks: BACKEND,
  setLock: {
    ...EXPIRES,
    fail: "boolean",
    renew: "boolean",
    create: "boolean",
    ...HOLDER,
    metadata: "object",
    ...BACKEND,
  } satisfies KnownOptions<SetLockOptions>,
  listLocks: {
    prefix: "string",
    names: "object",
    includeExpired: "boolean",
    ...BACKEND,
  } satisfies KnownOptions<ListOptions>,
  watchLocks: {
    prefix: "string",
    names: "object",
    signal: "object",
    interval: "number",
    ...BACKEND,
  } satisfies KnownOptions<WatchOptions>,
  LockMgr: MANAGER satisfies KnownOptions<LockMgrOptions>,
  "LockMgr.lock": { ...EXPIRES, wait: "number" } satisfies KnownOptions<LockMgrLockOptions>,
  "LockMgr.renew": RENEW,
  "LockSet.renew": { ...EXPIRES, addTime: "boolean" },
  schemaOf: { table: "string" },
} as const;

/** Checks the options of a verb, as {@linkcode checkOptions} does. */
export function checkVerbOptions(verb: keyof typeof VERBS, options: unknown): void {
  checkOptions(`of ${verb}`, options, VERBS[verb]);
}

/**
 * Checks the options of a call: their names, and the values that would otherwise be used whatever they are.
 *
 * @param where What the options are for, such as `"on MySQL"`.
 * @throws {TypeError} For an unknown option, or what is no object, with the nearest known option; for a flag, signal or
 * backend of another type. No value is shown.
 */
export function checkOptions(where: string, options: unknown, known: Readonly<Record<string, string>>): void {
  requireObject(where, options, known);
  for (const name in options) { // inherited ones count too: a spread would lose them
    if (Object.hasOwn(known, name)) {
      checkType(name, (options as Record<string, unknown>)[name], known[name]);
      continue;
    }
    const wanted = nearestOf(name, Object.keys(known));
    throw new TypeError(`Cannot use option ${JSON.stringify(name)} ${where}: want ${wanted}`);
  }
}

/** Refuses a flag that is no boolean (`"no"` would mean yes), and a signal or backend without what is called on it. */
function checkType(name: string, value: unknown, type: string): void {
  if (value === undefined) return;
  if (name === "backend") return checkBackend(value);
  const refuse = (wanted: string) => new TypeError(`Cannot use ${name} of type ${typeOf(value)}: want ${wanted}`);
  if (type === "boolean" && typeof value !== "boolean") throw refuse("a boolean");
  if (name === "signal" && !hasMethods(value, ["throwIfAborted"])) throw refuse("an AbortSignal");
}

/** Refuses what is no backend, such as the promise of one, with a `TypeError`. */
export function checkBackend(value: unknown): asserts value is Backend {
  if (hasMethods(value, ["acquire"])) return;
  throw new TypeError(
    `Cannot use a value of type ${typeOf(value)} as the backend: want what "await connect(…)" returns`,
  );
}

function typeOf(value: unknown): string {
  if (typeof value !== "object") return typeof value;
  return Object.prototype.toString.call(value).slice("[object ".length, -1).toLowerCase(); // "null", "array", "promise", …
}

/** Refuses what is no object of options, such as `60` for `{ expires: 60 }`, a `Date`, or the promise of options. */
export function requireObject(
  where: string,
  options: unknown,
  known: Readonly<Record<string, string>>,
): asserts options is object | undefined {
  if (options === undefined) return;
  const kind = typeOf(options);
  const holdsNothing = Object.keys(options ?? {}).length === 0; // otherwise the names tell
  if (typeof options !== "object" || options === null || kind === "array" || (kind !== "object" && holdsNothing)) {
    const names = Object.keys(known);
    const wanted = listed(names.find((name) => known[name] === kind) ?? names[0], names);
    throw new TypeError(`Cannot use this ${kind} as the options ${where}: want an object with ${wanted}`);
  }
}

/** Lists the most likely name, and all others. */
function listed(first: string, known: readonly string[]): string {
  const others = known.filter((name) => name !== first);
  return JSON.stringify(first) + (others.length === 0 ? "" : `, or another of ${others.join(", ")}`);
}

/** What other libraries call an option that no edit distance finds. */
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  timeout: ["wait", "expires"],
  ttl: ["expires"],
  duration: ["expires"],
  blocking: ["wait"],
  owner: ["lockedBy"],
  pid: ["lockProcess"],
  ssl: ["driver"],
};

/** Lists the known names for an error message, the nearest to a misspelt one first. */
export function nearestOf(given: string, known: readonly string[]): string {
  return listed(nearest(given, known), known);
}

/** Returns the known name that is nearest to a misspelt one. */
export function nearest(given: string, known: readonly string[]): string {
  const synonym = Object.hasOwn(SYNONYMS, given) ? SYNONYMS[given].find((name) => known.includes(name)) : undefined;
  return synonym ?? known.toSorted((one, other) => distance(given, one) - distance(given, other))[0];
}

/** Returns the edit distance of two names; 0.1 for each letter where one is a part of the other. */
function distance(given: string, known: string): number {
  const [one, other] = [given, known].map((name) => name.toLowerCase().replace(/[-_]/g, ""));
  if (one !== "" && (other.includes(one) || one.includes(other))) return Math.abs(other.length - one.length) / 10;
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 0; i < one.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      next.push(Math.min(row[j + 1] + 1, next[j] + 1, row[j] + (one[i] === other[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[other.length];
}
