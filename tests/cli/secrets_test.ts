import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { Place } from "./program.ts";

/** What must not be seen. */
const SECRET = "zqSECRETqz";

/** Passwords as people type them, without escapes. */
const PASSWORDS = ["", "p#", "p/", "p?", "p@", "p:", "p%", "p\\", "p&"].map((before) => `${before}${SECRET}`);

test("a password never shows, whatever stands unescaped in it, nor do other parts of a URL", async () => {
  await using place = await Place.make();
  const urls = [
    ...PASSWORDS.map((password) => `postgres://me:${password}@127.0.0.1:1/db`),
    `mysql://me:${SECRET}/x@127.0.0.1:1/db`,
    `mysql://${SECRET}:pw@127.0.0.1:1/db?charset=${SECRET}`,
    `gopher://me:${SECRET}@host/db`,
    `host=127.0.0.1 password=${SECRET}`,
    `me:${SECRET}@tcp(127.0.0.1)/db`,
    ` "postgres://me:${SECRET}@127.0.0.1:1/db"`,
    `sqlite:${place.directory}/x.db#?password=${SECRET}`,
    `${place.directory}/x.db?key=${SECRET}`,
  ];
  const calls = urls.flatMap((url, index) => {
    const command = index % 3 === 0 ? "doctor" : index % 3 === 1 ? "list" : "schema";
    const flags = index % 2 === 0 ? ["--debug", "--json"] : ["--debug"];
    return index % 4 === 3
      ? [place.run([command, ...flags], "", { LOCKMGR_URL: url })]
      : [place.run([command, ...flags, "--url", url])];
  });
  for (const { stdout, stderr } of await Promise.all(calls)) assert(!`${stdout}${stderr}`.includes(SECRET), stderr);
  assert.deepEqual(await readdir(place.directory), []);
});

test("a URL in the wrong place of a command line is not shown", async () => {
  await using place = await Place.make();
  const url = `postgres://me:${SECRET}@127.0.0.1:1/db`;
  const wrong = [[url], [`--ulr=${url}`, "list"], ["--ulr", url, "list"], ["list", url], ["set", "x", "-t", url]];
  wrong.push([`-u${url}`, "list"], ["list", `--prefx=${url}`], ["--mode", url, "list"]);
  for (const { code, stdout, stderr } of await Promise.all(wrong.map((args) => place.run([...args, "--debug"])))) {
    assert.equal(code, 64, stderr);
    assert(!`${stdout}${stderr}`.includes(SECRET), stderr);
  }
});

test("an error names the database by scheme, host, port and database", async () => {
  await using place = await Place.make();
  const url = `postgres://me:${SECRET}@[::1]:1/db?sslmode=disable`;
  const { code, stderr } = await place.run(["list", "--url", url]);
  assert.equal(code, 1);
  assert.match(stderr, /The database is postgres:\/\/\[::1\]:1\/db \(from --url\)/);
  const { stdout } = await place.run(["doctor", "--url", `postgres://me:${SECRET}@127.0.0.1:1/db`]);
  assert.match(stdout, /^ok +target +postgres:\/\/127\.0\.0\.1:1\/db \(from --url\)$/m);
});

test("LOCKMGR_URL=required forbids the default database, and makes no file", async () => {
  await using place = await Place.make();
  for (const args of [["list"], ["set_lock", "a"], ["schema"]]) {
    const { code, stderr } = await place.run(args, "", { LOCKMGR_URL: "required", XDG_STATE_HOME: place.directory });
    assert.equal(code, 1);
    assert.match(stderr, /LOCKMGR_URL=required forbids it/);
  }
  const named = await place.run(["list", "--url", "sqlite::memory:"], "", { LOCKMGR_URL: "required" });
  assert.equal(named.code, 0);
  assert.deepEqual(await readdir(place.directory), []);
});
