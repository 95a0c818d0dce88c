/**
 * Signals that this program was started with ignored, as `nohup` does with SIGHUP and a shell without job control with
 * SIGINT and SIGQUIT of what runs in its background. They stay ignored.
 *
 * @module
 */
import { fstatSync, readFileSync, statSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";

/** Deno's query of permissions, which does not prompt. */
interface DenoPermissions {
  readonly permissions: { querySync(descriptor: { name: "read"; path: string }): { readonly state: string } };
}

const { Deno, Bun } = globalThis as { Deno?: DenoPermissions; Bun?: unknown };

/** The signals that callers ignore on purpose. Runtimes ignore SIGPIPE and others by themselves. */
const INHERITED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP"];
/** Where Linux lists the signals that a process ignores. */
const STATUS = "/proc/self/status";
/** Access mode bits of a descriptor's flags, and the value that means "only for writing". */
const ACCESS_MODE = 0o3;
const WRITE_ONLY = 0o1;

/** The signals that this process ignores now, as a bit mask; `undefined` where the system does not list them. */
function ignoredMask(): bigint | undefined {
  try {
    if (Deno && Deno.permissions.querySync({ name: "read", path: STATUS }).state !== "granted") return undefined;
    const mask = /^SigIgn:\s*([0-9a-f]+)/m.exec(readFileSync(STATUS, "utf8"))?.[1];
    return mask === undefined ? undefined : BigInt(`0x${mask}`);
  } catch {
    return undefined; // another system than Linux
  }
}

/** Whether `nohup` gave this process its stdin: nothing else opens the null device for writing there. */
function hasInputOfNohup(): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync("/proc/self/fdinfo/0", "utf8"))![1];
    const writeOnly = (parseInt(flags, 8) & ACCESS_MODE) === WRITE_ONLY;
    return writeOnly && fstatSync(0).rdev === statSync("/dev/null").rdev;
  } catch {
    return false;
  }
}

/** Whether this process runs under `nohup`, by the traces that it leaves: its stdin, and bash's and zsh's `$_`. */
function runsUnderNohup(): boolean {
  return /(?:^|\/)nohup$/.test(process.env._ ?? "") || hasInputOfNohup();
}

/** Reads which of the signals were ignored when this program started. */
function readIgnored(): ReadonlySet<string> {
  const mask = ignoredMask() ?? 0n;
  const numbers = constants.signals as Record<string, number | undefined>;
  const ignored = new Set(INHERITED.filter((name) => (mask << 1n) & (1n << BigInt(numbers[name] ?? 0))));
  // Node gives every signal its default action before a program can look.
  if (!Deno && !Bun && process.platform !== "win32" && runsUnderNohup()) ignored.add("SIGHUP");
  return ignored;
}

let ignored: ReadonlySet<string> | undefined;

/** The signals that were ignored when this program started. The first call must come before any signal is listened to. */
export function ignoredSignals(): ReadonlySet<string> {
  return ignored ??= readIgnored();
}
