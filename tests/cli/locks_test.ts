import assert from "node:assert/strict";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease")];

onEach(targets, "set_lock creates, then renews, and reports both", async (place) => {
  const first = await place.run(["set_lock", "hello", "world"]);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /Name +Was Locked\? +Now Locked\? +Status/);
  assert.match(first.stdout, /^hello +no +yes +created$/m);
  assert.match(first.stdout, /Created: +2\n.*Renewed: +0\n.*Renewals skipped: +0\n.*Creations skipped: +0/s);
  const second = await place.run(["set", "hello", "world"]);
  assert.match(second.stdout, /^world +yes +yes +renewed$/m);
  assert.match(second.stdout, /Created: +0\n.*Renewed: +2\n/s);
});

onEach(targets, "set_lock --no-renew and --only-renew skip what they say", async (place) => {
  await place.run(["set_lock", "held", "-t", "50"]);
  const before = (await place.json(["list"]))[0].lockedUntil;
  const noRenew = await place.json(["set_lock", "-n", "held", "new"]);
  assert.deepEqual(noRenew.counts, { created: 1, renewed: 0, skipCreate: 0, skipRenew: 1 });
  assert.equal((await place.json(["list", "--prefix", "held"]))[0].lockedUntil, before);
  const onlyRenew = await place.json(["set_lock", "-r", "held", "other"]);
  assert.deepEqual(onlyRenew.counts, { created: 0, renewed: 1, skipCreate: 1, skipRenew: 0 });
  assert.deepEqual(onlyRenew.statuses[1], ["other", { wasLocked: false, status: "skip", locked: false }]);
  assert.equal((await place.run(["set_lock", "-n", "-r", "held"])).code, 64);
});

onEach(targets, "set_lock --no-timeout never expires, whatever --timeout says before or after it", async (place) => {
  for (const flags of [["-k"], ["-k", "-t", "5"], ["-t", "5", "--no-timeout"]]) {
    const { locks: [lock] } = await place.json(["set_lock", `name ${flags}`, ...flags]);
    assert.equal(lock.lockedUntil, null, String(flags));
  }
  const { locks: [lock] } = await place.json(["set_lock", "short", "-t", "2.5"]);
  assert(lock.expiresIn > 0 && lock.expiresIn <= 2.5);
});

onEach(targets, "set_lock --fail changes nothing, shows the lock in the way and exits with 2", async (place) => {
  await place.run(["set_lock", "example", "--locked-by", "host-a", "--pid", "71"]);
  const failed = await place.run(["set_lock", "-e", "hello", "example", "world"]);
  assert.equal(failed.code, 2);
  assert.equal(failed.stdout, "");
  assert.match(failed.stderr, /Cannot acquire lock "example": held by "host-a" \(pid 71\)/);
  assert.match(failed.stderr, /<Lock name='example' locked_by='host-a' locked_until='.*'>/);
  const json = JSON.parse((await place.run(["set_lock", "-e", "hello", "example", "--json"])).stdout);
  assert.equal(json.error.code, "LOCK_FAIL");
  assert.equal(json.error.lock.name, "example");
  assert.deepEqual((await place.json(["list"])).map(({ name }: { name: string }) => name), ["example"]);
});

onEach(
  targets,
  "list_locks counts, shows who holds, filters by prefix, and shows expired ones on demand",
  async (place) => {
    assert.match((await place.run(["list_locks"])).stdout, /^There are currently 0 active locks\n$/);
    await place.run(["set_lock", "db:a", "--process-id", "71", "--locked-by", "host-a"]);
    const one = await place.run(["list_locks"]);
    assert.match(one.stdout, /^There is currently 1 active lock:/);
    assert.match(one.stdout, /^<Lock name='db:a' locked_by='host-a' lock_process='71' locked_until='.*\+00:00'>$/m);
    await place.run(["set_lock", "db:b", "-k"]);
    await place.run(["set_lock", "past", "-t", "0.001"]);
    const all = await place.run(["list", "--all"]);
    assert.match(all.stdout, /^There are currently 2 active locks, and 1 expired lock:/);
    assert.match(all.stdout, /name='past'.*\(expired\)$/m);
    assert.match(all.stdout, /name='db:b' locked_by='.*' lock_process='None' locked_until='None'>$/m);
    const names = (await place.json(["list", "--prefix", "db:"])).map(({ name }: { name: string }) => name);
    assert.deepEqual(names, ["db:a", "db:b"]);
  },
);

onEach(targets, "clear_lock says of each name whether it was held", async (place) => {
  await place.run(["set_lock", "hello", "world"]);
  const cleared = await place.run(["clear_lock", "hello", "test"]);
  assert.equal(cleared.code, 0);
  assert.equal(cleared.stdout, 'Lock "hello" has been removed\nLock "test" was not held\n');
  assert.deepEqual(await place.json(["clear", "world"]), [{ name: "world", removed: true }]);
});

onEach(targets, "reset_locks asks for YES in capitals on a terminal", async (place) => {
  await place.run(["set_lock", "hello", "world"]);
  const no = place.onTerminal(["reset_locks"]);
  await no.says(/These 2 locks would be removed:[^]*name='hello'[^]*Type YES in capitals/);
  no.process.stdin.write("yes\r");
  assert.equal((await no.ended).code, 1);
  assert.match(no.stdout, /Nothing was removed/);
  assert.equal((await place.json(["list"])).length, 2);
  const yes = place.onTerminal(["reset_locks"]);
  await yes.says(/Type YES/);
  yes.process.stdin.write("YES\r");
  assert.equal((await yes.ended).code, 0);
  assert.match(yes.stdout, /Removed 2 locks/);
  assert.equal((await place.json(["list"])).length, 0);
});

onEach(targets, "reset_locks is left by Ctrl-C and by the end of input, with every lock in place", async (place) => {
  await place.run(["set_lock", "hello"]);
  for (const [key, code] of [["\x03", 130], ["\x04", 1]] as const) {
    const asked = place.onTerminal(["reset_locks"]);
    await asked.says(/Type YES/);
    asked.process.stdin.write(key);
    assert.equal((await asked.ended).code, code);
  }
  assert.equal((await place.json(["list"])).length, 1);
});

onEach(targets, "reset_locks never asks in a pipe: it refuses without --force", async (place) => {
  await place.run(["set_lock", "hello"]);
  const refused = await place.run(["reset_locks"], "YES\n");
  assert.equal(refused.code, 64);
  assert.doesNotMatch(refused.stderr, /Type YES/);
  assert.equal((await place.json(["list"])).length, 1);
  assert.equal((await place.json(["reset", "-f"])).removed, 1);
  assert.match((await place.run(["reset_locks", "--force"])).stdout, /Removed 0 locks/);
});
