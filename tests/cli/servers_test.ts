import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import process from "node:process";
import postgresJs from "postgres";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { freshDatabase } from "../servers/mysql_database.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { isAlive, Place, type Running } from "./program.ts";
import { onEach, postgres, type Target } from "./targets.ts";

/** A server that the tests of this file let die and start again. */
const server = await PostgresServer.start();
const modes = (["lease", "hybrid", "session"] as const).map((mode) => postgres(server, mode));
/** A command that has started another one and waits for it. */
const FAMILY = ["--", "bash", "-c", "sleep 60 & echo started $$ $!; wait"];

/** The flags of `run` for a lease that a test can wait for; a session lock has none. */
function leaseOf({ mode, lease }: Target): string[] {
  return mode === "session" ? [] : ["-t", lease];
}

/** The command and the one that it has started. */
async function familyOf(running: Running): Promise<[leader: number, started: number]> {
  const [, leader, started] = await running.says(/started (\d+) (\d+)/);
  return [Number(leader), Number(started)];
}

for (const target of modes) {
  test(`${target.name}: when the server dies, run ends all of its command with 3, and the lock can be had again`, async () => {
    await using place = await target.open();
    const running = place.start(["run", "job", ...leaseOf(target), ...FAMILY]);
    const family = await familyOf(running);
    await server.kill();
    try {
      const { code, stderr } = await running.ended;
      assert.equal(code, 3, stderr);
      assert.match(stderr, /Lost lock "job": ending "bash"/);
      assert.deepEqual(family.map(isAlive), [false, false]);
    } finally {
      await server.start();
    }
    const next = await place.run(["run", "job", "-w", "20", "--", "echo", "next"]);
    assert.deepEqual([next.code, next.stdout], [0, "next\n"], next.stderr);
  });
}

test("postgres lease: wait goes on when the server starts again", async () => {
  await using place = await modes[0].open();
  await place.run(["set_lock", "job", "-t", "60"]);
  const waiting = place.start(["wait", "job", "-w", "50"]);
  const sql = postgresJs(server.url, { max: 1, onnotice: () => {} });
  const listening = "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_advisory_lock(hashtextextended(%'";
  while ((await sql.unsafe(listening)).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await sql.end();
  await server.kill();
  await server.start();
  assert.equal((await place.run(["clear_lock", "job"])).code, 0);
  const { code, stdout, stderr } = await waiting.ended;
  assert.deepEqual([code, stdout], [0, 'Lock "job" is free\n'], stderr);
});

test("postgres lease: told to stop while the server is down, run ends its command and itself", async () => {
  await using place = await modes[0].open();
  const running = place.start(["run", "job", "-t", "60", ...FAMILY]);
  const family = await familyOf(running);
  await server.kill();
  try {
    running.kill("SIGTERM");
    const { code, stderr } = await running.ended;
    assert.equal(code, 143, stderr);
    assert.match(stderr, /Cannot release lock "job"/);
    assert.deepEqual(family.map(isAlive), [false, false]);
  } finally {
    await server.start();
  }
});

test("postgres lease: behind LOCK TABLE commands fail or are ended, and lock nothing later", async () => {
  await using place = await modes[0].open();
  const { LOCKMGR_URL } = place.environment;
  await place.run(["list"]); // which makes the table
  const sql = postgresJs(server.url, { max_lifetime: null, max: 2, onnotice: () => {} });
  const table = new URL(LOCKMGR_URL).searchParams.get("lockmgr_table")!;
  const waiting = async (count: number) => {
    const where = sql`wait_event_type = 'Lock' AND query LIKE ${`%${table}%`}`;
    const deadline = performance.now() + 20_000;
    while ((await sql`SELECT FROM pg_stat_activity WHERE ${where}`).length !== count) {
      assert(performance.now() < deadline, `not ${count} wait for the table`);
    }
  };
  const commands = [["set_lock", "a", "-k"], ["run", "b", "-n", "-t", "0", "--", "true"]];
  await sql.begin(async (tx) => {
    await tx.unsafe(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
    const terminated = commands.map((args) => place.start(args));
    await waiting(terminated.length);
    for (const running of terminated) running.kill("SIGTERM");
    const impatient = { LOCKMGR_URL: `${LOCKMGR_URL}&lockmgr_answerTimeout=1` };
    const failed = commands.map((args) => place.run(args, "", impatient));
    for (const { code } of await Promise.all(terminated.map(({ ended }) => ended))) assert.equal(code, 143);
    for (const { code, stderr } of await Promise.all(failed)) {
      assert.deepEqual([code, /answer of PostgreSQL within/.test(stderr)], [1, true], stderr);
    }
    await waiting(0);
  });
  assert.deepEqual([...await sql.unsafe(`SELECT name FROM ${table} WHERE owner IS NOT NULL`)], []);
  await sql.end();
});

onEach(modes, "run that waits lives through a restart of the server", async (place, { mode }) => {
  const holding = place.start(["run", "job", "--", "sh", "-c", "echo started; cat"]);
  await holding.says(/started/);
  const waiting = place.start(["run", "job", "-w", "60", "--", "echo", "mine"]);
  while ((await place.json(["show", "job"])).waiters.length === 0);
  await server.restart();
  if (mode === "lease") holding.process.stdin.end();
  const { code, stdout, stderr } = await waiting.ended;
  assert.deepEqual([code, stdout], [0, "mine\n"], stderr);
  assert.equal((await holding.ended).code, mode === "lease" ? 0 : 3);
});

onEach(modes.slice(1), "a session that the administrator ends takes the lock with it", async (place) => {
  const running = place.start(["run", "job", ...FAMILY]);
  const family = await familyOf(running);
  const { holders: [{ session }] } = await place.json(["show", "job"]);
  process.kill(Number(session), "SIGTERM");
  assert.equal((await running.ended).code, 3);
  assert.deepEqual(family.map(isAlive), [false, false]);
  assert.equal((await place.run(["run", "job", "-n", "--", "true"])).code, 0);
});

onEach(modes, "show tells of the holder's session and address, and of those who wait", async (place, { mode }) => {
  const running = place.start(["run", "job", "--", "sh", "-c", "echo started; cat"]);
  await running.says(/started/);
  const waiting = place.start(["run", "job", "-w", "60", "--", "true"]);
  let shown = await place.json(["show", "job"]);
  while (shown.waiters.length === 0) shown = await place.json(["show", "job"]);
  assert.equal(shown.locked, true);
  assert.equal(shown.waiters[0].client, "127.0.0.1");
  assert.equal(shown.holders.length, mode === "lease" ? 0 : 1);
  const { stdout } = await place.run(["show", "job"]);
  assert.match(stdout, new RegExp(`^ +Waiting +session ${shown.waiters[0].session} at 127\\.0\\.0\\.1`, "m"));
  if (mode !== "lease") {
    assert.match(stdout, new RegExp(`^ +Session +${shown.holders[0].session} at 127\\.0\\.0\\.1`, "m"));
  }
  const watching = mode === "session" ? undefined : place.onTerminal(["watch", "-i", "0.1"]);
  await watching?.says(/Waiting[^]*job +.* +1/);
  running.process.stdin.end();
  assert.equal((await waiting.ended).code, 0);
  assert.match((await place.run(["show", "job"])).stdout, /^Lock "job" is not held\n$/);
});

test("postgres: a lock whose session has ended shows as free", async () => {
  await using place = await modes[1].open();
  const running = place.start(["run", "job", "--", "sh", "-c", "echo started $$; exec sleep 60"]);
  const [, pid] = await running.says(/started (\d+)/);
  running.kill("SIGKILL");
  await running.says(/^/);
  process.kill(Number(pid), "SIGKILL");
  assert.equal((await place.run(["wait", "job", "-w", "10"])).code, 0);
  assert.match((await place.run(["show", "job"])).stdout, /^Lock "job" was left by a session that has ended/);
  const all = await place.run(["list", "--all"]);
  assert.match(
    all.stdout,
    /^There are currently 0 active locks, and 1 expired lock:\n\n<Lock name='job'.*\(its session/,
  );
  assert.equal((await place.json(["clean"])).cleaned, 1);
});

test("postgres: what is wrong with a URL is told, without its password and without a stack", async () => {
  await using place = await Place.make();
  const { port } = new URL(server.url);
  const wrong: [url: string, says: RegExp][] = [
    ["postgres://me:Secr3t@127.0.0.1:1/db", /no server answers.*\n.*postgres:\/\/127.*\n.*host and port right/],
    [`postgres://nobody:Secr3t@127.0.0.1:${port}/postgres`, /role "\*\*\*" does not exist.*\n.*\n.*user and password/],
    [
      `postgres://postgres:Secr3t@127.0.0.1:${port}/missing`,
      /database "missing" does not exist\n.*\n.*name of the data/,
    ],
    [`postgres://postgres:Secr3t@127.0.0.1:${port}/postgres?lockmgr_migrate=false`, /does not exist.*\n.*\n.*schema"/],
    [`postgres://postgres:Secr3t@127.0.0.1:${port}/postgres?lockmgr_tabel=x`, /"lockmgr_tabel": want "lockmgr_table"/],
  ];
  for (const [LOCKMGR_URL, says] of wrong) {
    const { code, stdout, stderr } = await place.run(["list"], "", { LOCKMGR_URL });
    assert.match(stderr, says);
    assert.deepEqual([code, stdout], [LOCKMGR_URL.includes("tabel") ? 64 : 1, ""]);
    assert.doesNotMatch(stderr, /Secr3t|^ +at /m);
  }
});

test("postgres: schema prints DDL that makes the table, and doctor finds it", async () => {
  await using place = await Place.make(`${server.url}?lockmgr_migrate=false&lockmgr_table=by_hand`);
  const missing = await place.run(["set_lock", "job"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /table "by_hand" does not exist, and "migrate" is off\n.*\n +"lockmgr schema"/);
  const { ddl } = await place.json(["schema"]);
  const sql = postgresJs(server.url, { max_lifetime: null, max: 1, onnotice: () => {} });
  await sql.unsafe(ddl);
  await sql.end();
  assert.equal((await place.run(["set_lock", "job"])).code, 0);
  const { code, stdout } = await place.run(["doctor"]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^ok +database +postgres in "lease" mode answers$/m);
  assert.match(stdout, /^ok +taking a lock/m);
});

test("postgres: doctor finds no problem with a table of an earlier version, and says what upgrades it", async () => {
  await using place = await Place.make(`${server.url}?lockmgr_table=earlier`);
  await place.run(["list"]); // which makes the table
  const sql = postgresJs(server.url, { max: 1, onnotice: () => {} });
  await sql.unsafe("ALTER TABLE earlier DROP slots, DROP first_token, DROP line_owner, DROP line");
  await sql.end();
  const { code, stdout } = await place.run(["doctor"]);
  assert.equal(code, 0, stdout);
  assert.match(
    stdout,
    /^note +table +.* earlier version: the first use upgrades it, unless "migrate" is off\n.*schema/m,
  );
  const refused = await place.run(["list", "--url", `${server.url}?lockmgr_table=earlier&lockmgr_migrate=false`]);
  assert.match(refused.stderr, /is of an earlier version, and "migrate" is off\n.*\n.*schema" prints what upgrades it/);
  assert.match((await place.run(["list"])).stdout, /^There are currently 0 active locks/);
  assert.match((await place.run(["doctor"])).stdout, /^ok +table /m);
});

for (const [name, start] of [["mysql", startMysql], ["mariadb", startMariadb]] as const) {
  test(`${name}: run, show, wait, list and clear`, async () => {
    await using server = await start();
    const { url: fresh } = await freshDatabase(server);
    await using untouched = await Place.make(`${fresh}?lockmgr_mode=session`);
    const { code, stdout } = await untouched.run(["doctor"]);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^note +mode lease +can be used as well: .*the first use creates it/m);
    assert.match(stdout, /The first use creates it if it may/);
    for (const mode of ["hybrid", "session"]) {
      const { url } = await freshDatabase(server);
      await using place = await Place.make(`${url.replace("mysql:", `${name}:`)}?lockmgr_mode=${mode}`);
      const running = place.start(["run", "job", "--", "sh", "-c", "echo started; cat"]);
      await running.says(/started/);
      assert.equal((await place.run(["run", "job", "-n", "--", "true"])).code, 2);
      assert.equal((await place.run(["wait", "job", "-w", "0"])).code, 2);
      const { locked, holders } = await place.json(["show", "job"]);
      assert.deepEqual([locked, holders.length], [true, 1]);
      assert.match((await place.run(["show", "job"])).stdout, /Session +\d+ at (localhost|127)/);
      if (mode !== "session") assert.equal((await place.json(["list"]))[0].name, "job");
      running.process.stdin.end();
      assert.equal((await running.ended).code, 0);
      assert.equal((await place.run(["wait", "job", "-w", "0"])).code, 0);
    }
  });
}

test("postgres: run and wait with -w, and lead, wait for a server that is away when they start", async () => {
  await using place = await modes[0].open();
  await place.run(["list"]); // which makes the table
  await server.kill();
  const waits = [["run", "a", "-w", "60", "--", "echo", "ran"], ["wait", "b", "-w", "60"], [
    "lead",
    "c",
    "--",
    "echo",
    "led",
  ]];
  let running: Running[];
  try {
    const { code, stderr } = await place.run(["run", "a", "--", "echo", "ran"]);
    assert.deepEqual([code, /no server answers/.test(stderr)], [1, true], stderr);
    const { code: briefly } = await place.run(["run", "a", "-w", "0.2", "--", "echo", "ran"]);
    assert.equal(briefly, 1);
    running = waits.map((args) => place.start(args));
    await Promise.all(running.map((each) => each.says(/no server answers.*: trying again\n/)));
  } finally {
    await server.start();
  }
  const said = ["ran\n", 'Lock "b" is free\n', "led\n"];
  for (const [index, { ended }] of running.entries()) {
    const { code, stdout, stderr } = await ended;
    assert.deepEqual([code, stdout], [0, said[index]], stderr);
  }
});

/** A command that waits 0.2 s for a silent server ends within this time (ms); a connection attempt takes up to 15 s. */
const SOON_MS = 10_000;

test("postgres: a wait with -w ends in time while a silent server is connected to", async () => {
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  await using place = await Place.make(`postgres://anyone@127.0.0.1:${(silent.address() as AddressInfo).port}/any`);
  const startedAt = performance.now();
  for (const args of [["run", "a", "-w", "0.2", "--", "true"], ["wait", "a", "-w", "0.2"]]) {
    const { code, stderr } = await place.run(args);
    assert.deepEqual([code, /has not answered/.test(stderr)], [1, true], stderr);
  }
  assert(performance.now() - startedAt < SOON_MS);
  silent.close();
});

/** A lease of 3 s that is lost, its release and the end of the connections take less than this (ms). */
const LOST_MS = 20_000;

test("postgres lease: after a loss at a silent server, run ends soon with 3", async () => {
  await using proxy = await Proxy.start(Number(new URL(server.url).port));
  const url = new URL(server.url);
  url.port = String(proxy.port);
  await using place = await Place.make(`${url}?lockmgr_table=silent_loss`);
  const running = place.start(["run", "job", "-t", "3", "--", "sh", "-c", "echo started; exec sleep 60"]);
  await running.says(/started/);
  proxy.swallow = "answers";
  const startedAt = performance.now();
  const { code, stderr } = await running.ended;
  assert.equal(code, 3, stderr);
  assert.match(stderr, /Lost lock "job"[^]*Cannot release lock "job" within 5 s of its loss/);
  assert(performance.now() - startedAt < LOST_MS, `${performance.now() - startedAt} ms`);
});
