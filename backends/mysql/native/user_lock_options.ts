import type { Backend } from "../../../core/backend.ts";

/**
 * Options of a user lock.
 *
 * @example
 * ```ts
 * import { mysqlBackend, UserLock, type UserLockOptions } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url);
 *   const options: UserLockOptions = { backend, acquireTimeout: 0.5 };
 *   console.log(await new UserLock("my_unique_name", options).isHeld());
 * }
 * ```
 */
export interface UserLockOptions {
  /** A backend that `mysqlBackend` made, in whatever mode: the lock is taken on that server. */
  backend: Backend;
  /** Seconds to wait for the lock, fractions allowed; 0 does not wait, `Infinity` waits for ever. @default 10 */
  acquireTimeout?: number;
}

/** Seconds to wait unless the caller says otherwise, as in django-mysql. */
export const DEFAULT_TIMEOUT = 10;
/**
 * Checks what a user lock is made of.
 *
 * @throws {TypeError | RangeError} For a name or a time that cannot be.
 */
export function checkUserLock(name: unknown, acquireTimeout: unknown): void {
  if (typeof name !== "string" || name.includes("\0")) {
    throw new TypeError("Cannot use this as a name: want a string");
  }
  if (name === "") throw new RangeError("Cannot use an empty name: want at least one character");
  if (typeof acquireTimeout !== "number") throw new TypeError("Cannot use this acquireTimeout: want seconds");
  if (!(acquireTimeout >= 0)) throw new RangeError(`Cannot use acquireTimeout ${acquireTimeout}: want 0 or more`);
}
