/**
 * Which connections a process has, as the kernel knows them.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The states of a TCP connection that this side has not closed (include/net/tcp_states.h of Linux). */
const OPEN = new Set(["01", "08"]); // established, and closed by the other side alone

/** The remote ends of this process's open TCP connections, as the kernel writes them; none where it is not Linux. */
export function connectionsOfOurs(): string[] {
  if (!existsSync("/proc/self/net/tcp")) return [];
  const own = new Set<string>();
  for (const descriptor of readdirSync("/proc/self/fd")) {
    try {
      own.add(readlinkSync(`/proc/self/fd/${descriptor}`));
    } catch {
      // It was that of the listing itself.
    }
  }
  const lines = ["tcp", "tcp6"].flatMap((file) => readFileSync(`/proc/self/net/${file}`, "utf8").split("\n").slice(1));
  return lines.map((line) => line.trim().split(/\s+/))
    .filter((columns) => OPEN.has(columns[3]) && own.has(`socket:[${columns[9]}]`))
    .map((columns) => columns[2]);
}
