/**
 * Arguments that are more than a text, checked as they are parsed.
 *
 * @module
 */
import { InvalidArgumentError, Option } from "commander";

/** Digits with or without a fraction. */
const DECIMAL = /^(?:\d+\.?\d*|\.\d+)$/;

/** A number of seconds, fractions allowed. */
export function seconds(text: string): number {
  if (!DECIMAL.test(text)) throw new InvalidArgumentError("Want seconds, such as 30 or 0.5.");
  return Number(text);
}

/** A number of seconds that is more than none. */
export function someSeconds(text: string): number {
  const value = seconds(text);
  if (value === 0) throw new InvalidArgumentError("Want more than 0 seconds.");
  return value;
}

/** A whole number. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError("Want a whole number.");
  }
  return value;
}

/** A number of holders. */
export function holders(text: string): number {
  const value = wholeNumber(text);
  if (value < 1 || value > 999_999_999) throw new InvalidArgumentError("Want a whole number from 1 to 999999999.");
  return value;
}

/** A fencing token. */
export function fencingToken(text: string): bigint {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Want a token as "lockmgr show" prints it, in digits.');
  return BigInt(text);
}

/** An exit code. */
export function exitCode(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > 255) throw new InvalidArgumentError("Want an exit code from 0 to 255.");
  return Number(text);
}

/** A text that is not empty. */
export function someText(text: string): string {
  if (text === "") throw new InvalidArgumentError("Want a text that is not empty.");
  return text;
}

/** The flag for the holder's name. */
export function lockedBy(): Option {
  return new Option("--locked-by <who>", "name of the holder, for people (default: this host's name)").argParser(
    someText,
  );
}

/** The flag for the longest wait. */
export function longestWait(): Option {
  return new Option("-w, --wait <seconds>", "wait at most so long (default: until it is free)").argParser(seconds);
}
