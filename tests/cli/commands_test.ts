import { connect, getLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import postgres from "postgres";
import { test } from "../harness.ts";
import { Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const [onPostgres] = await postgresWith("hybrid");
const targets = [sqlite, onPostgres];
/** What gives the screen back: the cursor, and what the terminal showed before. */
// deno-lint-ignore no-control-regex -- the escape character begins a control sequence
const GIVEN_BACK = /\x1b\[\?25h\x1b\[\?1049l/;

onEach(targets, "renew gives more time, never less, and exits with 1 for a name that is not held", async (place) => {
  await place.run(["set_lock", "job", "-t", "100"]);
  const [longer] = await place.json(["renew", "job", "-t", "200"]);
  assert(longer.lock.expiresIn > 150);
  const [same] = await place.json(["renew", "job", "-t", "5"]);
  assert.equal(same.lock.lockedUntil, longer.lock.lockedUntil, "never shortened");
  const [added] = await place.json(["renew", "job", "-t", "100", "--add"]);
  assert.equal(Date.parse(added.lock.lockedUntil), Date.parse(longer.lock.lockedUntil) + 100_000);
  const mixed = await place.run(["renew", "job", "missing"]);
  assert.equal(mixed.code, 1);
  assert.match(mixed.stdout, /^Lock "job" is held until .*\nLock "missing" is not held\n$/);
  assert.equal((await place.json(["renew", "missing", "--create"]))[0].renewed, true);
  const [never] = await place.json(["renew", "job", "-t", "0"]);
  assert.equal(never.lock.lockedUntil, null);
});

onEach(targets, "wait returns at once for a free name, when it is released, and when it expires", async (place) => {
  assert.equal((await place.json(["wait", "job"])).free, true);
  await place.run(["set_lock", "job"]);
  const waiting = place.start(["wait", "job", "--json"]);
  await place.run(["set_lock", "other"]);
  await place.run(["clear_lock", "job"]);
  const { code, stdout } = await waiting.ended;
  assert.deepEqual([code, JSON.parse(stdout).free], [0, true]);
  await place.run(["set_lock", "job", "-t", "0.5"]);
  assert.equal((await place.run(["wait", "job", "-w", "10"])).code, 0);
  assert.deepEqual(await place.json(["list", "--prefix", "job"]), [], "the lock was not taken");
});

onEach(targets, "wait gives up with 2 and says who holds the lock", async (place) => {
  await place.run(["set_lock", "job", "--locked-by", "host-a"]);
  for (
    const [wait, says] of [["0", /Lock "job" is still held\n/], [
      "0.2",
      /Lock "job" is still held after 0.2 s\n/,
    ]] as const
  ) {
    const { code, stdout, stderr } = await place.run(["wait", "job", "-w", wait]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, says);
    assert.match(stderr, /locked_by='host-a'/);
  }
  const json = JSON.parse((await place.run(["wait", "job", "-w", "0", "--json"])).stdout);
  assert.deepEqual([json.error.code, json.error.lock.lockedBy], ["LOCK_TIMEOUT", "host-a"]);
});

onEach(targets, "show tells all of a lock, held, expired or free", async (place) => {
  await place.run(["set_lock", "job", "job:2", "--locked-by", "host-a", "--pid", "71"]);
  const held = await place.run(["show", "job"]);
  assert.equal(held.code, 0);
  assert.match(held.stdout, /^Lock "job" is held\n/);
  assert.match(held.stdout, /Holder +host-a \(process 71\)\n +Since +.* ago\)\n +Renewed .*\n +Until .*\(in 9 min/);
  assert.match(held.stdout, /Token +\d+\n +Kept +as a lease\n$/);
  const { name, locked, lock } = await place.json(["show", "job"]);
  assert.deepEqual([name, locked, lock.name, lock.lockProcess], ["job", true, "job", 71]);
  assert.match((await place.run(["show", "free"])).stdout, /^Lock "free" is not held\n$/);
  await place.run(["set_lock", "past", "-t", "0.001"]);
  assert.match((await place.run(["show", "past"])).stdout, /^Lock "past" has expired: the name is free\n/);
  assert.equal((await place.json(["show", "past"])).locked, false);
  assert.equal((await place.run(["show", ""])).code, 64);
});

onEach(targets, "show takes several names, and then prints an array", async (place) => {
  await place.run(["set_lock", "job", "job:2"]);
  const { stdout } = await place.run(["show", "job:2", "free", "job"]);
  assert.match(stdout, /^Lock "job:2" is held\n[^]*\n\nLock "free" is not held\n\nLock "job" is held\n/);
  const shown: { name: string; locked: boolean }[] = await place.json(["show", "job:2", "free", "job:2"]);
  assert.deepEqual(shown.map(({ name, locked }) => [name, locked]), [["job:2", true], ["free", false]]);
});

onEach(targets, "clear_lock --token frees the acquisition that was shown, not the next one", async (place) => {
  await place.run(["set_lock", "job"]);
  const { lock: { token } } = await place.json(["show", "job"]);
  const next = String(BigInt(token) + 1n);
  assert.equal(
    (await place.run(["clear_lock", "job", "--token", next])).stdout,
    `Lock "job" with token ${next} was not held\n`,
  );
  assert.deepEqual(await place.json(["clear_lock", "job", "--token", token]), [{ name: "job", removed: true }]);
  await place.run(["set_lock", "job"]);
  assert.deepEqual(await place.json(["clear_lock", "job", "--token", token]), [{ name: "job", removed: false }]);
  assert.equal((await place.json(["show", "job"])).locked, true);
});

onEach(targets, "show tells of every holder, and clear_lock --token frees one of them", async (place) => {
  await using backend = await connect(place.environment.LOCKMGR_URL);
  const one = await getLock("job", { backend, shared: true, lockedBy: "host-a" });
  const two = await getLock("job", { backend, shared: true, lockedBy: "host-b", metadata: { part: 2 } });
  const { stdout } = await place.run(["show", "job"]);
  assert.match(stdout, /^Lock "job" is held\n\n +Holder +host-a\n[^]*\n\n +Holder +host-b\n[^]*Metadata +{"part":2}/);
  const { lock, locks } = await place.json(["show", "job"]);
  assert.deepEqual(locks.map(({ token }: { token: string }) => token), [String(one.token), String(two.token)]);
  assert.equal(lock.token, locks[0].token);
  const cleared = await place.json(["clear_lock", "job", "--token", locks[1].token]);
  assert.deepEqual(cleared, [{ name: "job", removed: true }]);
  assert.deepEqual([await one.verify(), await two.verify()], [true, false]);
});

onEach(targets, "clean clears away what has expired, and nothing else", async (place) => {
  await place.run(["set_lock", "past", "-t", "0.001"]);
  await place.run(["set_lock", "job"]);
  assert.equal((await place.run(["clean"])).stdout, "Cleared away 1 expired lock\n");
  assert.deepEqual((await place.json(["list", "--all"])).map(({ name }: { name: string }) => name), ["job"]);
});

test("schema prints DDL that makes the table, and creates nothing", async () => {
  await using place = await Place.make();
  const { code, stdout } = await place.run(["schema", "--table", "mine"]);
  assert.equal(code, 0);
  assert.match(stdout, /^CREATE TABLE IF NOT EXISTS "mine"/);
  assert.deepEqual(await readdir(place.directory), []);
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(`${place.directory}/locks.db`);
  database.exec(stdout);
  database.close();
  const url = `sqlite:${place.directory}/locks.db?lockmgr_migrate=false&lockmgr_table=mine`;
  assert.equal((await place.run(["set_lock", "job", "--url", url])).code, 0);
  assert.match((await place.json(["schema", "--url", url])).ddl, /"mine"/);
});

test("doctor finds a sound database, an absent table, a wrong table and an absent directory", async () => {
  await using place = await Place.make();
  const states = ({ findings }: { findings: { what: string; state: string }[] }) =>
    new Map(findings.map(({ what, state }) => [what, state]));
  const fresh = await place.json(["doctor"]);
  assert.equal(fresh.ok, true);
  assert.equal(states(fresh).get("table"), "note");
  assert.deepEqual(
    (await place.run(["list", "--url", `sqlite:${place.directory}/locks.db?lockmgr_migrate=false`])).code,
    1,
  );
  await place.run(["set_lock", "job"]);
  const sound = await place.run(["doctor"]);
  assert.equal(sound.code, 0, sound.stdout);
  assert.match(sound.stdout, /^ok +target .*locks\.db \(from LOCKMGR_URL\)$/m);
  assert.match(sound.stdout, /^ok +taking a lock +taken in [\d.]+ ms, released in [\d.]+ ms, token \d+$/m);
  assert.deepEqual((await place.json(["list"])).map(({ name }: { name: string }) => name), ["job"]);
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(`${place.directory}/locks.db`);
  database.exec("CREATE TABLE other (name TEXT PRIMARY KEY)");
  database.close();
  const wrong = await place.run(["doctor", "--table", "other"]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stdout, /^problem +table +Cannot use table "other": it has no column owner/m);
  const absent = await place.run(["doctor", "--url", `${place.directory}/missing/locks.db`]);
  assert.equal(absent.code, 1);
  assert.match(absent.stdout, /^problem +database +Cannot open database .* does not exist$/m);
  await writeFile(`${place.directory}/text`, "no database ".repeat(1000));
  assert.equal((await place.run(["doctor", "--url", `${place.directory}/text`])).code, 1);
});

onEach(targets, "watch prints a JSON line for each change", async (place) => {
  await place.run(["set_lock", "job"]);
  const watching = place.start(["watch", "-i", "0.05", "--prefix", "job"]);
  await watching.says(/"change":"held","name":"job"/);
  await place.run(["set_lock", "unrelated"]);
  await place.run(["set_lock", "job"]);
  await watching.says(/"change":"renewed","name":"job"/);
  await place.run(["clear_lock", "job"]);
  await watching.says(/"change":"released","name":"job"/);
  await place.run(["set_lock", "job:short", "-t", "3"]);
  await watching.says(/"change":"acquired","name":"job:short"[^]*"change":"expired","name":"job:short"/);
  watching.kill("SIGINT");
  const { code, stdout } = await watching.ended;
  assert.equal(code, 130);
  for (const line of stdout.trim().split("\n")) assert.match(JSON.parse(line).name, /^job/);
});

onEach([onPostgres], "watch draws nothing on a screen that it has given back", async (place) => {
  const url = new URL(place.environment.LOCKMGR_URL);
  const table = url.searchParams.get("lockmgr_table")!;
  url.search = "";
  const sql = postgres(url.href);
  await place.run(["set_lock", "job"]);
  const watching = place.onTerminal(["watch", "-i", "0.05"]);
  await watching.says(/1 lock held/);
  await sql.begin(async (tx) => {
    await tx.unsafe(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
    const looking = () =>
      sql`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE ${`%pg_locks%`}`;
    while ((await looking()).length === 0);
    watching.process.stdin.write("\x03");
    await watching.says(GIVEN_BACK);
  });
  await sql.end();
  assert.match((await watching.ended).stdout, new RegExp(`${GIVEN_BACK.source}$`));
});

onEach(
  targets,
  "watch draws a table on a terminal, within 80 columns, and leaves the terminal clean",
  async (place) => {
    await place.run(["set_lock", "job", "x".repeat(200), "--locked-by", "host".repeat(30), "-t", "100"]);
    await place.run(["set_lock", "forever", "-k"]);
    for (const NO_COLOR of ["", "1"]) {
      const watching = place.onTerminal(["watch", "-i", "0.05"], { NO_COLOR });
      await watching.says(/3 locks held[^]*?forever +\S+ +.*no expiry +\[.*##########.*\][^]*?job +.* +1 min/);
      watching.process.stdin.write("\x03");
      const { code, stdout } = await watching.ended;
      assert.equal(code, 130);
      assert(stdout.includes("\x1b[?1049h") && stdout.endsWith("\x1b[?25h\x1b[?1049l"), "the screen is given back");
      // deno-lint-ignore no-control-regex -- the escape character is what is looked for
      if (NO_COLOR) assert.doesNotMatch(stdout, /\x1b\[\d+m/);
      // deno-lint-ignore no-control-regex -- as above
      const lines = stdout.replaceAll("^C", "").replaceAll("\x1b[H", "\r\n").replace(/\x1b\[[?\d;]*[a-zA-Z]/g, "")
        .split(/\r+\n/);
      for (const line of lines) assert(line.length <= 80, line);
    }
  },
);

test("a reader that goes away early is no error", async () => {
  await using place = await Place.make();
  const names = Array.from({ length: 2000 }, (_, index) => `name ${String(index).padStart(200, "0")}`);
  for (let from = 0; from < names.length; from += 500) await place.run(["set_lock", ...names.slice(from, from + 500)]);
  const listing = place.start(["list_locks"]);
  listing.process.stdout.once("data", () => listing.process.stdout.destroy());
  const { code, stderr } = await listing.ended;
  assert.deepEqual([code, stderr], [0, ""]);
});
