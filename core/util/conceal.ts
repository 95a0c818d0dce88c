/**
 * Keeps the user, the password and the parameters of a URL out of the errors of servers and drivers.
 *
 * @module
 */
import type { ServerTarget } from "../options/target.ts";

/** Values that are words of every manual, and numbers: nothing is hidden by hiding them. */
const ORDINARY =
  /^(?:\d+|true|false|on|off|yes|no|any|auto|require[d]?|prefer(?:red)?|allow|disabled?|verify[-_]\w+)$/i;

/** Shorter ones are part of too many words. No server or driver shows the password; this is for what they may quote. */
const SHORTEST_SECRET = 3;

const HIDDEN = "***";

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/** The patterns of what must not be shown. A user is hidden where it is quoted and no database, schema or table. */
function patternsOf({ user, password, parameters }: ServerTarget): RegExp[] {
  const values = [password ?? "", ...parameters.values()]
    .flatMap((value) => [value, ...value.split(/[\s=,:]+/)])
    .filter((value) => value.length >= SHORTEST_SECRET && !ORDINARY.test(value))
    .sort((a, b) => b.length - a.length);
  const forms = new Set(values.flatMap((value) => [value, encodeURIComponent(value)]));
  const patterns = [...forms].map((form) =>
    new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(form)}(?![\\p{L}\\p{N}_])`, "gu")
  );
  if (user === undefined) return patterns;
  const notUsers = "(?<!\\b(?:database|schema|relation|table) [\"'`])";
  return [...patterns, new RegExp(`${notUsers}(?<=["'\`])${escaped(user)}(?=["'\`])`, "gu")];
}

/** Makes a function that hides a target's secrets in an error and its causes, and returns that error. */
export function concealerFor(target: ServerTarget): (error: unknown) => unknown {
  const patterns = patternsOf(target);
  const conceal = (text: string) => patterns.reduce((text, pattern) => text.replace(pattern, HIDDEN), text);
  const cleanse = (error: unknown, seen: Set<unknown>): void => {
    if (!(error instanceof Error) || seen.has(error)) return;
    seen.add(error);
    const fields = error as unknown as Record<string, unknown>;
    for (const key of Object.getOwnPropertyNames(error)) {
      const text = fields[key];
      if (typeof text !== "string") continue;
      const clean = conceal(text);
      if (clean !== text) Reflect.defineProperty(error, key, { value: clean });
    }
    cleanse(error.cause, seen);
    if (error instanceof AggregateError) { for (const each of error.errors) cleanse(each, seen); }
  };
  return (error) => {
    if (typeof error === "string") return conceal(error);
    cleanse(error, new Set());
    return error;
  };
}
