import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { createConnection } from "mysql2/promise";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { freshDatabase } from "../servers/mysql_database.ts";
import { Place, untilListening } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid", "session")];

/** Each command is ended so often, each time so much later (ms). */
const ROUNDS: readonly number[] = [0, 1, 2];
const MOMENT = 20;

/** Ends each of the commands by SIGTERM at some moment, and checks that what did not succeed is not held afterwards. */
async function terminateAtMoments(place: Place, { mode }: { readonly mode: Mode }, rounds = ROUNDS): Promise<void> {
  const holding = mode === "session" ? place.start(["run", "held", "--", "sh", "-c", "echo started; cat"]) : undefined;
  await (holding?.says(/started/) ?? place.run(["set_lock", "held"]));
  const kept = new Set(["held"]);
  const commands = (name: string): string[][] => [
    ...mode === "session" ? [["run", name, "--", "true"]] : [
      ["set_lock", name, "-k"],
      ["run", name, "-t", "0", "--", "true"],
      ["renew", name, "--create", "-t", "0"],
    ],
    ["run", "held", "--", "true"],
    ["wait", "held"],
    ["doctor"],
  ];
  for (const round of rounds) {
    await Promise.all(
      commands("").map(async (_, index) => {
        const name = `name ${round} ${index}`;
        const args = commands(name)[index];
        const running = place.start(args);
        await untilListening(running.process.pid!);
        await new Promise((resolve) => setTimeout(resolve, round * MOMENT));
        running.kill("SIGTERM");
        const { code, signal, stderr } = await running.ended;
        if (code === 0 && args[0] !== "run") kept.add(name);
        assert(code === 0 || code === 143 || signal === "SIGTERM", `${args.join(" ")}: ${code} ${signal} ${stderr}`);
      }),
    );
  }
  if (mode !== "session") {
    const held: { name: string }[] = await place.json(["list_locks"]);
    return assert.deepEqual(held.map(({ name }) => name).filter((name) => !kept.has(name)), []);
  }
  holding!.process.stdin.end();
  assert.equal((await holding!.ended).code, 0);
  await using backend = await connect(place.environment.LOCKMGR_URL);
  const names = ["held", ...rounds.map((round) => `name ${round} 0`)];
  for (const name of names) await (await getLock(name, { backend, wait: 10 })).unlock(); // the server may notice later
}

/** Commands behind LOCK TABLES of another client fail or are ended, and hold nothing afterwards. */
async function behindLockedTable(place: Place, url: string, table: string): Promise<void> {
  await place.run(["reset_locks", "-f"]);
  const stranger = await createConnection({ uri: url });
  try {
    await stranger.query(`LOCK TABLES ${table} WRITE`);
    const impatient = { LOCKMGR_URL: `${place.environment.LOCKMGR_URL}&lockmgr_answerTimeout=1` };
    const ended = place.start(["run", "ended", "-t", "0", "--", "echo", "mine"], impatient);
    const failing = [["set_lock", "kept", "-k"], ["run", "refused", "-n", "-t", "0", "--", "echo", "mine"]];
    const failed = Promise.all(failing.map((args) => place.run(args, "", impatient)));
    await untilListening(ended.process.pid!);
    ended.kill("SIGTERM");
    for (const { code, stdout, stderr } of [...await failed, await ended.ended]) {
      assert(code === 1 || code === 143, `${code} ${stderr}`); // not 2: no client holds the name
      assert.equal(stdout, "");
    }
    for (const { stderr } of await failed) assert.match(stderr, /no answer within|its table locked/);
  } finally {
    await stranger.end();
  }
  assert.deepEqual(await place.json(["list_locks"]), []);
}

onEach(targets, "SIGTERM at any moment leaves nothing locked", (place, target) => terminateAtMoments(place, target));

for (const [name, start] of [["mysql", startMysql], ["mariadb", startMariadb]] as const) {
  test(`${name}: SIGTERM at any moment leaves nothing locked, in each mode, nor does LOCK TABLES`, async () => {
    await using server = await start();
    const { url } = await freshDatabase(server);
    const at = (mode: Mode) => `${url.replace("mysql:", `${name}:`)}?lockmgr_mode=${mode}&lockmgr_table=${mode}`;
    for (const [mode, rounds] of [["hybrid", ROUNDS], ["lease", [1]], ["session", [2]]] as const) {
      await using place = await Place.make(at(mode));
      await terminateAtMoments(place, { mode }, rounds);
    }
    for (const mode of ["hybrid", "lease"] as const) {
      await using place = await Place.make(at(mode));
      await behindLockedTable(place, url, mode);
    }
  });
}
