/**
 * The same cron line on ten hosts: the work is done once per date, by the host that acquires the lock first.
 *
 *     deno run -A examples/cron_on_ten_hosts.ts 2026-11-21
 *
 * The lock is *not* released after success, because a host whose clock is behind would find it free and do the work
 * again. It stays until it expires: longer than the clocks can differ, shorter than the time to the next run.
 *
 * @module
 */
import { tryLock } from "@lockmgr/lockmgr";
import process from "node:process";

const date = process.argv[2] ?? new Date().toISOString().slice(0, 10);
const lock = await tryLock(`nightly report:${date}`, { expires: 6 * 3600, lockProcess: process.pid });
if (lock === undefined) {
  console.log(`${date}: another host does it, or has done it`);
} else {
  try {
    report(date);
  } catch (error) {
    await lock.unlock(); // let another host try
    throw error;
  }
}

function report(date: string): void {
  console.log(`${date}: report made`);
}
