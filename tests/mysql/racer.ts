/**
 * Takes random overlapping sets of names, all or nothing, as long as it is told; what it does while it holds a name
 * fails when another does the same. Says what went wrong.
 */
import { type Backend, LockFail, setLock, unlock } from "@lockmgr/lockmgr";
import { mysqlBackend, type MysqlPool } from "@lockmgr/lockmgr/mysql";
import mysql from "mysql2/promise";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import process from "node:process";

const [url, how, directory, seconds] = process.argv.slice(2);
const pool = how === "pool" ? mysql.createPool({ uri: url, connectionLimit: 5 }) : undefined;
const mode = how === "hybrid" ? "hybrid" : "lease";
const backend: Backend = await mysqlBackend(pool as MysqlPool | undefined ?? url, { mode });
const said = { sets: 0, busy: 0, overlaps: 0, tokens: 0, lost: 0, errors: [] as string[] };
const end = performance.now() + Number(seconds) * 1e3;
/** A racer goes on until it has taken so many sets, however busy the machine is, and gives up after a while (ms). */
const SETS = 2;
const LONGEST = 60_000;

function racing(): boolean {
  const now = performance.now();
  return now < end || (said.sets < SETS && now < end + LONGEST);
}

/** Between 5 and 44 of 60 names, one of them sometimes never seen before. */
function choose(): string[] {
  const names = Array.from({ length: 60 }, (_, index) => `name ${index}`);
  const chosen = names.sort(() => Math.random() - 0.5).slice(0, 5 + Math.floor(Math.random() * 40));
  return Math.random() < 0.3 ? [...chosen, `fresh ${crypto.randomUUID()}`] : chosen;
}

/** Does what only one may do at a time, for each name. */
async function work(name: string, token: bigint): Promise<void> {
  const file = `${directory}/${name}`;
  try {
    await mkdir(`${file}.inside`); // fails when somebody else is inside
  } catch {
    said.overlaps++;
    return;
  }
  const last = BigInt(await readFile(file, "utf8").catch(() => "0"));
  if (token <= last) said.tokens++;
  await writeFile(file, String(token));
  await rmdir(`${file}.inside`);
}

async function loop(): Promise<void> {
  while (racing()) {
    try {
      const { locks } = await setLock(choose(), { backend, fail: true, expires: 60 });
      said.sets++;
      for (const lock of locks) await work(lock.name, lock.token);
      const released = await Promise.all(locks.map((lock) => unlock(lock as never)));
      said.lost += released.filter((done) => !done).length;
    } catch (error) {
      if (error instanceof LockFail) said.busy++;
      else said.errors.push(String(error));
    }
  }
}

await Promise.all([loop(), loop()]);
await backend[Symbol.asyncDispose]();
await pool?.end();
console.log(JSON.stringify(said));
