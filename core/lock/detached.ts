/**
 * The text of a detached lock: name, owner and least time, in characters that need no quotes in URLs, headers and shells.
 *
 * @module
 */
import type { OwnedLock } from "../backend.ts";
import { checkName } from "../options/options.ts";

const FORMAT = /^lockmgr1\.([^.]+)\.(\d*)\.(.+)$/;

/** Writes the right to a lock as text. */
export function detachedText({ name, owner, keep }: OwnedLock): string {
  return `lockmgr1.${owner}.${keep ?? ""}.${encodeURIComponent(name)}`;
}

/**
 * Reads it again.
 *
 * @throws {TypeError} For another text, without showing it.
 */
export function claimIn(text: unknown): OwnedLock {
  try {
    const [, owner, keep, name] = FORMAT.exec(text as string)!;
    const claim = { name: decodeURIComponent(name), owner };
    checkName(claim.name);
    return keep === "" ? claim : { ...claim, keep: Number(keep) };
  } catch {
    throw new TypeError(`Cannot adopt a lock by this ${typeof text}: want the text that detach() returned`);
  }
}
