import { getLock, LockTimeout } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { createConnection } from "mysql2/promise";
import { turnName } from "../../backends/mysql/session/session_keys.ts";
import { run } from "../processes/spawn.ts";
import { connectionsTo, onEach, type Place, until } from "./flavors.ts";

/** How many connections of a place wait for a turn. */
async function waitingForTurns({ ask, name }: Place): Promise<number> {
  const [{ waiting }] = await ask(
    `SELECT COUNT(*) AS waiting FROM information_schema.processlist WHERE db = '${name}' AND info LIKE 'SELECT GET_LOCK(%'`,
  );
  return Number(waiting);
}

/** The server's lock that is the turn for a name. */
async function turnFor({ ask, name: database }: Place, name: string): Promise<string> {
  const [{ folds }] = await ask("SELECT @@lower_case_table_names AS folds");
  return await turnName(
    { database, variables: new Map([["lower_case_table_names", String(folds)]]) },
    "lockmgr_locks",
    name,
  );
}

/** Whether somebody has the turn. */
async function isTaken(place: Place, turn: string): Promise<boolean> {
  const [{ free }] = await place.ask(`SELECT IS_FREE_LOCK('${turn}') AS free`);
  return Number(free) === 0;
}

/** Takes a turn beside the library, as a process that hangs. */
async function hang(place: Place, turn: string): Promise<AsyncDisposable> {
  const connection = await createConnection(place.url);
  await connection.query("SELECT GET_LOCK(?, 10)", [turn]);
  return { [Symbol.asyncDispose]: () => connection.end() };
}

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: processes that wait stand in line for their turns, and all are served`, async (place) => {
    const turn = await turnFor(place, "a");
    const first = await getLock("a", { backend: await place.backend({ mode }) });
    const order: number[] = [];
    const waits: Promise<void>[] = [];
    for (let index = 0; index < 5; index++) {
      const backend = await place.backend({ mode });
      waits.push(
        getLock("a", { backend, wait: 30 }).then(async (lock) => {
          order.push(index);
          await lock.unlock();
        }),
      );
      await until("it is in line", async () => {
        return index === 0 ? await isTaken(place, turn) : await waitingForTurns(place) === index;
      });
    }
    await first.unlock();
    await Promise.all(waits);
    assert.deepEqual(order.toSorted(), [0, 1, 2, 3, 4]); // the order is a hint: a busy machine may change it
    await until("no turn is left", async () => !await isTaken(place, turn));
  });
}

onEach("of all processes that wait for a name one looks closely", async (place) => {
  const holder = await place.backend();
  const lock = await getLock("a", { backend: holder });
  const waits = await Promise.all(Array.from({ length: 6 }, async () => {
    const backend = await place.backend();
    return { done: getLock("a", { backend, wait: 30 }).then((lock) => lock.unlock()) };
  }));
  await until("all are in line", async () => await waitingForTurns(place) === 5);
  const asked = async () => Number((await place.ask("SHOW GLOBAL STATUS LIKE 'Com_select'"))[0].Value);
  await new Promise((resolve) => setTimeout(resolve, 300)); // the first looks are the closest
  const before = await asked();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const looks = await asked() - before;
  assert(looks < 150, `${looks} looks in a second`); // 40 and five times 10, and not six times 40
  await lock.unlock();
  for (const { done } of waits) assert.equal(await done, true);
});

onEach("a process that hangs in its turn holds nobody up", async (place) => {
  await using _ = await hang(place, await turnFor(place, "a"));
  const backend = await place.backend();
  const other = await place.backend();
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const lock = await getLock("a", { backend });
    const wait = getLock("a", { backend: other, wait: 30 });
    await until("somebody waits for the turn", async () => await waitingForTurns(place) === 1);
    const releasedAt = performance.now();
    await lock.unlock();
    await (await wait).unlock();
    times.push(performance.now() - releasedAt);
  }
  const median = times.sort((a, b) => a - b)[2];
  assert(median < 500, `median ${median} ms of ${times}`);
});

onEach("waits that are given up leave no turn behind, and keep no process alive", async (place) => {
  const turn = await turnFor(place, "a");
  const holder = await place.backend();
  const lock = await getLock("a", { backend: holder });
  const backend = await place.backend();
  await assert.rejects(getLock("a", { backend, wait: 0.2 }), LockTimeout);
  const controller = new AbortController();
  const wait = getLock("a", { backend, wait: 30, signal: controller.signal });
  await until("it has the turn", () => isTaken(place, turn));
  controller.abort(new Error("enough"));
  await assert.rejects(wait, /enough/);
  await until("no turn is left", async () => !await isTaken(place, turn));
  await using _ = await hang(place, turn);
  const startedAt = performance.now();
  const { code, output } = await run("tests/mysql/gives_up.ts", [place.url]);
  assert.equal(code, 0);
  assert.equal(output.trim(), "true");
  assert(performance.now() - startedAt < 4_500); // the server would go on for 5 s
  assert.equal(await lock.unlock(), true);
});

onEach("many names are waited for on few connections", async (place) => {
  const holder = await place.backend();
  const names = Array.from({ length: 12 }, (_, index) => `lock ${index}`);
  for (const maxConnections of [10, 4, 1]) {
    const locks = await Promise.all(names.map((name) => getLock(name, { backend: holder })));
    const before = await connectionsTo(place);
    const backend = await place.backend({ maxConnections });
    const other = await place.backend({ maxConnections });
    const waits = names.flatMap((name) =>
      [backend, other].map((backend) => getLock(name, { backend, wait: 30 }).then((lock) => lock.unlock()))
    );
    const most = Math.min(4, Math.floor((maxConnections - 1) / 2));
    await until("turns are waited for", async () => await waitingForTurns(place) === most);
    const opened = (await connectionsTo(place)).filter((id) => !before.includes(id));
    assert(opened.length <= 2 * maxConnections, `${opened.length} connections`);
    assert(locks.length === names.length);
    await Promise.all(locks.map((lock) => lock.unlock()));
    assert((await Promise.all(waits)).every(Boolean));
    await backend[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  }
});

onEach("a turn whose connection is killed is had again", async (place) => {
  const turn = await turnFor(place, "a");
  const lock = await getLock("a", { backend: await place.backend() });
  const backend = await place.backend();
  const wait = getLock("a", { backend, wait: 30 });
  await until("it has the turn", () => isTaken(place, turn));
  const [{ id }] = await place.ask(`SELECT IS_USED_LOCK('${turn}') AS id`);
  await place.ask(`KILL ${id}`);
  await until(
    "the turn is free",
    async () => Number((await place.ask(`SELECT COALESCE(IS_USED_LOCK('${turn}'), 0) = ${id} AS same`))[0].same) === 0,
  );
  assert.equal(await lock.unlock(), true);
  assert.equal(await (await wait).unlock(), true);
});
