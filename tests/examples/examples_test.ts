import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { command, type CommandResult } from "../runtimes/command.ts";
import { place } from "../sqlite/place.ts";

const FOLDER = "examples";
/** A program that hangs is ended after so long (ms). */
const LONGEST = 60_000;

function parameters(example: string, ...words: string[]): string[] {
  return ["run", "-A", "--quiet", join(FOLDER, `${example}.ts`), ...words];
}

/** Runs an example in several processes at once. */
async function together(example: string, words: string[], env: Record<string, string> = {}): Promise<string[]> {
  const run = () => command(process.execPath, parameters(example, ...words), { env, timeout: LONGEST });
  const ended: CommandResult[] = await Promise.all(Array.from({ length: 3 }, run));
  for (const { code, output } of ended) assert.equal(code, 0, output);
  return ended.map(({ stdout }) => stdout.trim());
}

/** How many of the lines match. */
function count(lines: string[], pattern: RegExp): number {
  return lines.filter((line) => pattern.test(line)).length;
}

test("cron on ten hosts: the work of a date is done once, also when a host comes late", async () => {
  await using here = await place();
  const env = { LOCKMGR_URL: `sqlite:${here.path}` };
  const lines = await together("cron_on_ten_hosts", ["2026-11-21"], env);
  assert.equal(count(lines, /report made$/), 1);
  assert.equal(count(lines, /another host does it, or has done it$/), 2);
  assert.equal(count(await together("cron_on_ten_hosts", ["2026-11-21"], env), /report made$/), 0);
  assert.equal(count(await together("cron_on_ten_hosts", ["2026-11-22"], env), /report made$/), 1);
});

test("one migration: one instance migrates, the others find it done", async () => {
  await using here = await place();
  const lines = await together("one_migration", [here.path]);
  assert.equal(count(lines, /^migrated from version 0 to 2$/), 1);
  assert.equal(count(lines, /^version 2 is there already$/), 2);
});

test("one consumer: every message is handled once, in order, by one consumer after the other", async () => {
  await using here = await place();
  using database = new DatabaseSync(here.path);
  database.exec("PRAGMA journal_mode = WAL; CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT NOT NULL)");
  for (let id = 1; id <= 20; id++) database.prepare("INSERT INTO messages VALUES (?, ?)").run(id, `message ${id}`);
  await together("one_consumer", [here.path]);
  const handled = database.prepare("SELECT id, consumer FROM handled ORDER BY rowid").all();
  assert.deepEqual(handled.map(({ id }) => id), Array.from({ length: 20 }, (_, index) => index + 1));
  assert.equal(new Set(handled.map(({ consumer }) => consumer)).size, 1); // the first left nothing to the others
});

test("a payment is made once, and a worker that died before it wrote it down made that same one", async () => {
  await using here = await place();
  const lines = await together("payment", [here.path, "7"]);
  assert.equal(count(lines, /^order 7 is paid by /), 1);
  assert.equal(count(lines, /^order 7 is paid already by /), 2);
  using database = new DatabaseSync(here.path);
  database.exec("INSERT INTO provider VALUES ('order-8', 'made by one that died')");
  assert.equal(count(await together("payment", [here.path, "8"]), /is paid (already )?by made by one that died$/), 3);
});

/** A program that does not end by itself, and what it says. */
function running(path: string, example: string, ...words: string[]) {
  const env = { ...process.env, LOCKMGR_URL: `sqlite:${path}` };
  const child = spawn(process.execPath, parameters(example, ...words), { env, stdio: ["ignore", "pipe", "inherit"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), LONGEST);
  const ended = once(child, "close").finally(() => clearTimeout(timer));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, ended, next: async () => String((await lines.next()).value) };
}

test("one leads; when it stops another does", async () => {
  await using here = await place();
  const first = running(here.path, "leader");
  assert.equal(await first.next(), "leads");
  const second = running(here.path, "leader");
  process.kill(first.child.pid!, "SIGTERM");
  assert.equal(await first.next(), "leads no more");
  assert.equal(await second.next(), "leads");
  process.kill(second.child.pid!, "SIGTERM");
  assert.equal(await second.next(), "leads no more");
  await Promise.all([first.ended, second.ended]);
});

test("a request takes the lock, and a worker process finishes the report under it", async () => {
  await using here = await place();
  const server = running(here.path, "hand_over", here.path, "0");
  const { port } = JSON.parse((await server.next()).replace(/^listening on /, ""));
  const post = async () => (await fetch(`http://localhost:${port}/reports/7`, { method: "POST" })).text();
  const answers = await Promise.all([post(), post()]); // the work lasts half a second
  assert.deepEqual(answers.sort(), ["/reports/7 is being made\n", "/reports/7 will be made\n"]);
  assert.match(await server.next(), /^\/reports\/7 made under token \d+$/);
  while (await post() !== "/reports/7 will be made\n");
  assert.match(await server.next(), /^\/reports\/7 made/);
  server.child.kill("SIGKILL");
  await server.ended;
});

test("every example is described and tested", async () => {
  const index = await readFile(join(FOLDER, "README.md"), "utf8");
  const files = ["examples/examples", "examples/integrations", "postgres/clients", "postgres/observability"];
  const tests = await Promise.all(files.map((file) => readFile(`tests/${file}_test.ts`, "utf8")));
  for (const file of [...await readdir(FOLDER), ...await readdir(`${FOLDER}/integrations`)]) {
    if (!file.endsWith(".ts")) continue;
    assert(index.includes(`/${file})`), `${file} is missing in ${FOLDER}/README.md`);
    assert(tests.some((text) => text.includes(file.slice(0, -3))), `${file} has no test`);
  }
});
