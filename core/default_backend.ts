import type { Backend } from "./backend.ts";
import { connect } from "./connect.ts";
import type { BackendOptions } from "./options.ts";
import { environment } from "./runtime.ts";

let chosen: Backend | undefined;
let opened: { readonly target: string | undefined; readonly backend: Promise<Backend> } | undefined;

/**
 * Sets the backend that calls without one use from now on; `undefined` goes back to `LOCKMGR_URL` or the embedded file.
 * The backend stays the caller's: it is not closed here.
 *
 * @example
 * ```ts
 * import { connect, isLocked, setDefaultBackend } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * setDefaultBackend(backend);
 * assert.equal(await isLocked("jobs"), false);
 * setDefaultBackend(undefined);
 * ```
 *
 * @param backend The backend, or `undefined` to forget the one that was set.
 */
export function setDefaultBackend(backend: Backend | undefined): void {
  chosen = backend;
}

/** The backend a call shall use: its own, else the default one, opened once and again after a failure. */
export function backendOf(options: BackendOptions): Backend | Promise<Backend> {
  const given = options.backend ?? chosen;
  if (given) return given;
  const target = environment("LOCKMGR_URL") || undefined;
  if (opened === undefined || opened.target !== target) {
    const backend = connect(target);
    const attempt = opened = { target, backend };
    backend.catch(() => {
      if (opened === attempt) opened = undefined;
    });
  }
  return opened.backend;
}
