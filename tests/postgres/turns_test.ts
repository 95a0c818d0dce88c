import { type Backend, connect, getLock, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { placeOf, PLACES, waitingForRow } from "../../backends/postgres/keys.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** Backends that hear of releases on connections of their own, as several processes do. */
function processes(count: number, mode: Mode, table: string): Promise<Backend[]> {
  return Promise.all(
    Array.from({ length: count }, (_, index) => connect(server.url, { mode, table, sessionTimeout: 15 + index })),
  );
}

/** How many shared locks there are: what waiters are known by. */
async function announced(): Promise<number> {
  await using sql = administrator();
  const [{ count }] = await sql`
    SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted`;
  return count;
}

for (const mode of ["lease", "hybrid"] as const) {
  test(`${mode}: of five processes that wait a release calls two, and all are served`, async () => {
    await using sql = administrator();
    const heard: string[] = [];
    await sql.listen("lockmgr", (payload) => heard.push(payload));
    const backends = await processes(6, mode, freshTable());
    const held = await getLock("a", { backend: backends[0] });
    const waiting = backends.slice(1).map((backend) => getLock("a", { backend, wait: 20 }));
    await until("all wait", async () => await announced() === 5 * 3);
    await held.unlock();
    await until("it is told", () => heard.length > 0);
    const [, ...places] = heard[0].split(" ");
    assert.equal(new Set(places).size, 2);
    assert(places.every((place) => ["1", "2", "3", "4", "5"].includes(place)), heard[0]); // each has its own
    await Promise.all(waiting.map(async (next) => assert(await (await next).unlock())));
    for (const backend of backends) await backend[Symbol.asyncDispose]();
  });
}

test("when those whose turn it is are gone, another has the name soon", async () => {
  const table = freshTable();
  const [backend, other] = await processes(2, "lease", table);
  await using sql = administrator();
  await using ghosts = administrator();
  const ghost = await ghosts.reserve();
  // a wait that goes on: from its first look on there is one every second only
  const lasting = await getLock("lasting", { backend });
  const last = getLock("lasting", { backend: other, wait: 60 });
  await until("it has looked", async () => {
    const [{ count }] =
      await sql`SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%AS vouched%held.name IS NULL%'
      AND state = 'idle' AND pid <> pg_backend_pid()`;
    return count > 0;
  });
  let waited = 0;
  for (let round = 0; round < 6; round++) {
    const name = `name ${round}`;
    const held = await getLock(name, { backend });
    const next = getLock(name, { backend: other, wait: 20 });
    await until("it waits", async () => await announced() === 5);
    await ghost.unsafe(
      `
      SELECT pg_advisory_lock_shared(${placeOf(waitingForRow(table, "$1::text"), "place")}) FROM ${PLACES}
      WHERE place > 1`,
      [name],
    );
    const releasedAt = performance.now();
    await held.unlock();
    await (await next).unlock();
    waited += performance.now() - releasedAt;
    await ghost`SELECT pg_advisory_unlock_all()`;
    await until("nobody waits for it", async () => await announced() === 3);
  }
  ghost.release();
  assert(waited < 1_500, `six hand-offs took ${waited} ms`); // a look every second would take 2,600 in the mean
  await lasting.unlock();
  await (await last).unlock();
  await until("nothing is left of those who waited", async () => await announced() === 0);
  for (const one of [backend, other]) await one[Symbol.asyncDispose]();
});
