import { type Backend, connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server } from "./server.ts";

/** How long a notified waiter may take to acquire a released lock (median, ms); it polls once a second. */
const NOTIFIED_MS = 500;
/** By then a new waiter's first poll is over (ms). */
const FIRST_POLL_MS = 60;

/** Milliseconds from a release through one backend to the grant through the other, sorted. */
async function handOvers(holder: Backend, waiter: Backend, rounds: number): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const lock = await getLock("a", { backend: holder });
    assert.equal(await tryLock("a", { backend: waiter }), undefined, holder.mode);
    const waiting = later(getLock("a", { backend: waiter, wait: 30 }));
    await new Promise((resolve) => setTimeout(resolve, FIRST_POLL_MS));
    const releasedAt = performance.now();
    await lock.unlock();
    const next = await waiting;
    times.push(performance.now() - releasedAt);
    await next.unlock();
  }
  return times.sort((a, b) => a - b);
}

test("a table is the same with and without its schema, in every mode", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(`CREATE SCHEMA app_${table}; CREATE ROLE speller_${table} LOGIN SUPERUSER;
    ALTER ROLE speller_${table} SET search_path = app_${table}`);
  const url = server.urlOf("postgres", `speller_${table}`);
  const whole = `app_${table}.${table}`;
  for (const mode of ["lease", "hybrid", "session"] as const) {
    await using bare = await connect(url, { mode, table });
    await using other = await connect(server.url, { mode, table: whole });
    for (const [holder, waiter] of [[bare, other], [other, bare]]) {
      const times = await handOvers(holder, waiter, 3);
      assert(times[1] < NOTIFIED_MS, `${mode}: ${times} ms`);
    }
    const details = (await bare.diagnose!()).map(({ detail }) => detail);
    assert(details.some((detail) => detail.includes(`"${whole}"`)), details.join("\n"));
  }
});
