/**
 * What requests look like to the statements.
 *
 * @module
 */
import type { AcquireRequest, RenewRequest } from "../../core/backend.ts";
import type { ACQUIRE_FIELDS, RENEW_FIELDS } from "./statements.ts";

/** A number as text. */
export function textOf(value: number | null): string | null {
  return value === null ? null : String(value);
}

/** Some fields of an object. */
export function pick<T extends object, K extends keyof T>(from: T, fields: readonly K[]): Pick<T, K> {
  return Object.fromEntries(fields.map((field) => [field, from[field]])) as Pick<T, K>;
}

/** The parameters of one wish, or one parameter with several in JSON. */
export function parametersOf<K extends string>(
  wishes: readonly Record<K, string | null>[],
  fields: readonly K[],
): (string | null)[] {
  return wishes.length === 1 ? fields.map((field) => wishes[0][field]) : [JSON.stringify(wishes)];
}

/** An attempt as the statement takes it. */
export function acquisitionOf(request: AcquireRequest): Record<typeof ACQUIRE_FIELDS[number], string | null> {
  return {
    ...pick(request, ["name", "owner", "metadata"]),
    duration: textOf(request.duration),
    holder: request.lockedBy,
    process: textOf(request.lockProcess),
  };
}

/** A renewal as the statement takes it. */
export function wishOf({ name, owner, from, add }: RenewRequest): Record<typeof RENEW_FIELDS[number], string | null> {
  return { name, owner, start: String(from), more: textOf(add) };
}

/** The locks of a request, for an error's sentence. */
export function namesOf(requests: readonly { readonly name: string }[]): string {
  const [first, ...others] = requests.map(({ name }) => JSON.stringify(name));
  return others.length === 0 ? `lock ${first}` : `lock ${first} and ${others.length} more`;
}
