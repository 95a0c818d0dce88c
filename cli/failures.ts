/**
 * How a failure is reported: a sentence for people, JSON for programs, and an exit code.
 *
 * @module
 */
import { BackendError, Locked, LockError, LockFail, LockLost, LockNotFound, type LockRecord } from "../mod.ts";
import { hintFor } from "./hints.ts";
import { EXIT } from "./exit_codes.ts";

/** The command line is wrong. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The command failed with an exit code of its own. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly exitCode: number;
  readonly lock?: LockRecord;
  /** Whether the caller expects it: nothing is printed. */
  readonly expected: boolean;

  constructor(
    exitCode: number,
    message: string,
    options: ErrorOptions & { lock?: LockRecord; expected?: boolean } = {},
  ) {
    super(message, options);
    this.exitCode = exitCode;
    this.lock = options.lock;
    this.expected = options.expected ?? false;
  }
}

/** A failure as it is reported. */
export interface Failure {
  readonly exitCode: number;
  /** A word for programs. */
  readonly code: string;
  /** What went wrong and what was wanted. */
  readonly message: string;
  readonly advice?: string;
  readonly lock?: LockRecord;
  readonly expected?: boolean;
  /** Whether the report names the database. */
  readonly ofDatabase?: boolean;
}

/** The library refuses a wrong argument with one of the platform's errors and this beginning. */
const WRONG_ARGUMENT = /^Cannot (?:use|connect|run|wait) (?!'in')/;

/** Turns an error into a failure. */
export function failureOf(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof CommandFailure) {
    const code = error.cause instanceof LockError ? error.cause.code : "FAILED";
    return { exitCode: error.exitCode, code, message, lock: error.lock, expected: error.expected };
  }
  if (error instanceof UsageError) return { exitCode: EXIT.usage, code: "USAGE", message };
  if ((error instanceof TypeError || error instanceof RangeError) && WRONG_ARGUMENT.test(message)) {
    return { exitCode: EXIT.usage, code: "USAGE", message };
  }
  if (error instanceof LockError) return ofLockError(error);
  if (isNotPermitted(error)) {
    const advice =
      "Deno was started without that permission: docs/command-line.md lists the flags that each command needs.";
    return { exitCode: EXIT.failed, code: "NOT_PERMITTED", message, advice };
  }
  return { exitCode: EXIT.failed, code: "UNEXPECTED", message, advice: "Run it again with --debug to see the stack." };
}

/** Whether Deno denied a permission. */
export function isNotPermitted(error: unknown): error is Error {
  return error instanceof Error && error.name === "NotCapable";
}

function ofLockError(error: LockError): Failure {
  const { code, message } = error;
  if (error instanceof LockLost) return { exitCode: EXIT.lost, code, message };
  if (error instanceof LockFail) {
    return { exitCode: EXIT.busy, code, message, advice: "Nothing was changed.", lock: error.lock };
  }
  if (error instanceof Locked) {
    const advice = `"lockmgr show" describes the holder; "lockmgr wait" waits until the lock is free.`;
    return { exitCode: EXIT.busy, code, message, advice, lock: error.holder };
  }
  if (error instanceof LockNotFound) {
    return { exitCode: EXIT.failed, code, message, advice: `"lockmgr list_locks" shows what is held.` };
  }
  if (error instanceof BackendError) {
    const advice = hintFor(error);
    return { exitCode: EXIT.failed, code, message, ...(advice ? { advice } : {}), ofDatabase: true };
  }
  return { exitCode: EXIT.failed, code, message };
}

/** An error with all its causes and stacks, for `--debug`. */
export function traceOf(error: unknown): string {
  const lines: string[] = [];
  const seen = new Set<unknown>();
  for (let each = error; each !== undefined && !seen.has(each); each = (each as { cause?: unknown }).cause) {
    seen.add(each);
    const text = each instanceof Error ? each.stack ?? String(each) : String(each);
    lines.push(lines.length === 0 ? text : `Caused by: ${text}`);
    if (each === null || typeof each !== "object") break;
  }
  return lines.join("\n");
}
