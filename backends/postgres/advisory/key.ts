/**
 * How the key of a text is computed: the first 64 bits of its SHA-256, or its CRC-32 as in django-pglocks 1.
 *
 * @example
 * ```ts
 * import type { AdvisoryHash } from "@lockmgr/lockmgr/postgres";
 *
 * export const key: AdvisoryHash = "crc32";
 * ```
 */
export type AdvisoryHash = "sha256" | "crc32";

/**
 * The id of an advisory lock: a text, an integer of 64 bits, or two of 32.
 *
 * @example
 * ```ts
 * import type { AdvisoryId } from "@lockmgr/lockmgr/postgres";
 *
 * export const ids: AdvisoryId[] = ["report", 123, 2n ** 40n, [5, 9]];
 * ```
 */
export type AdvisoryId = string | bigint | number | readonly [number, number];

/**
 * The server's key: an integer of 64 bits, or two of 32. The two kinds are different locks.
 *
 * @example
 * ```ts
 * import type { AdvisoryKey } from "@lockmgr/lockmgr/postgres";
 *
 * export const keys: AdvisoryKey[] = [123n, [0, 123]]; // two locks
 * ```
 */
export type AdvisoryKey = bigint | readonly [number, number];

/** CRC-32 of bytes (the polynomial of zlib, reflected), bit by bit: ids are short. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc; // as a signed integer of 32 bits, as in django-pglocks
}

/** Checks a pair of integers of 32 bits. */
function pairOf(id: readonly unknown[]): readonly [number, number] {
  const [first, second] = id;
  if (id.length !== 2 || !Number.isInteger(first) || !Number.isInteger(second)) {
    throw new TypeError("Cannot use this list as the id of an advisory lock: want two whole numbers");
  }
  if (first !== ((first as number) | 0) || second !== ((second as number) | 0)) {
    throw new RangeError(`Cannot use ${first}, ${second} as the id of an advisory lock: want numbers of 32 bits`);
  }
  return [first as number, second as number];
}

/**
 * Returns the key for an id.
 *
 * @throws {TypeError | RangeError} For a value that is not an id.
 */
export async function advisoryKey(id: AdvisoryId, hash: AdvisoryHash): Promise<AdvisoryKey> {
  if (Array.isArray(id)) return pairOf(id);
  if (typeof id === "number" && !Number.isSafeInteger(id)) {
    throw new RangeError(`Cannot use ${id} as the id of an advisory lock: want a whole number below 2^53, or a bigint`);
  }
  if (typeof id === "bigint" || typeof id === "number") {
    if (BigInt.asIntN(64, BigInt(id)) === BigInt(id)) return BigInt(id);
    throw new RangeError(`Cannot use ${id} as the id of an advisory lock: want a number of 64 bits`);
  }
  if (typeof id !== "string") {
    throw new TypeError(`Cannot use ${typeof id} as the id of an advisory lock: want a text, a number or two numbers`);
  }
  if (!id.isWellFormed()) throw new TypeError("Cannot use this id of an advisory lock: it holds a lone surrogate");
  const bytes = new TextEncoder().encode(id);
  if (hash === "crc32") return BigInt(crc32(bytes));
  if (hash !== "sha256") {
    throw new TypeError(`Cannot use key ${JSON.stringify(hash)}: want "sha256" or "crc32"`);
  }
  return new DataView(await crypto.subtle.digest("SHA-256", bytes)).getBigInt64(0);
}

/** The key as parameters of a statement. */
export function keyParameters(key: AdvisoryKey): string[] {
  return typeof key === "bigint" ? [String(key)] : key.map(String);
}

/** SQL for those parameters. */
export function keyArguments(key: AdvisoryKey): string {
  return typeof key === "bigint" ? "$1::text::bigint" : "$1::text::integer, $2::text::integer";
}
