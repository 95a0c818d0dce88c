/**
 * What requests look like to the statements.
 *
 * @module
 */
import type { AcquireRequest, RenewRequest } from "../../../core/backend.ts";
import { ACQUIRE_FIELDS, type RENEW_FIELDS } from "./statements.ts";

/** A number as text. */
export function textOf(value: number | null): string | null {
  return value === null ? null : String(value);
}

/** The parameters of one wish, or a parameter for each field with the values of several. */
export function parametersOf<K extends string>(
  wishes: readonly Record<K, string | null>[],
  fields: readonly K[],
): (string | null)[] {
  return wishes.length === 1 ? fields.map((field) => wishes[0][field]) : severalOf(wishes, fields);
}

/** A parameter for each field with the values of all wishes. */
export function severalOf<K extends string>(
  wishes: readonly Record<K, string | null>[],
  fields: readonly K[],
): string[] {
  return fields.map((field) => arrayOf(wishes.map((wish) => wish[field])));
}

const SPECIAL = /["\\]/;

/**
 * Values as PostgreSQL writes an array: text like all parameters, and read there three times as fast as JSON. NULL is an
 * empty text, since an array cannot have it where `array_nulls` is off.
 */
function arrayOf(values: readonly (string | null)[]): string {
  const texts = values.map((value) => value ?? "");
  if (!SPECIAL.test(texts.join(""))) return `{"${texts.join('","')}"}`;
  return `{${texts.map((text) => `"${text.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}

/** An attempt as the statement takes it. */
export function acquisitionOf(request: AcquireRequest): Record<typeof ACQUIRE_FIELDS[number], string | null> {
  const { name, owner, duration, lockedBy: holder, lockProcess, metadata } = request;
  return { name, owner, duration: textOf(duration), holder, process: textOf(lockProcess), metadata };
}

/** The parameters of requests that are alike: arrays of names and owners, and what they have in common. */
export function commonOf(requests: readonly AcquireRequest[]): (string | null)[] {
  const [name, owner] = severalOf(requests, ["name", "owner"]);
  return parametersOf([{ ...acquisitionOf(requests[0]), name, owner }], ACQUIRE_FIELDS);
}

/** A renewal as the statement takes it. */
export function wishOf({ name, owner, from, add }: RenewRequest): Record<typeof RENEW_FIELDS[number], string | null> {
  return { name, owner, start: String(from), more: textOf(add) };
}
