import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { freshDatabase } from "../servers/mysql_database.ts";
import { Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid")];

/** Each command is ended so often, each time so much later (ms). */
const ROUNDS = 5;
const MOMENT = 12;
/** Resolves once the program listens to signals: SIGQUIT is the last that it begins with. */
async function untilListening(pid: number): Promise<void> {
  const SIGQUIT = 1n << 2n;
  for (;;) {
    const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))![1];
    if (BigInt(`0x${caught}`) & SIGQUIT) return;
  }
}

/** Ends each of the commands by SIGTERM at some moment, and checks that what did not succeed is not held afterwards. */
async function terminateAtMoments(place: Place): Promise<void> {
  await place.run(["set_lock", "held"]);
  const kept = new Set(["held"]);
  const commands = (name: string): string[][] => [
    ["set_lock", name, "-k"],
    ["run", name, "-t", "0", "--", "true"],
    ["renew", name, "--create", "-t", "0"],
    ["run", "held", "--", "true"],
    ["wait", "held"],
    ["doctor"],
  ];
  for (let round = 0; round < ROUNDS; round++) {
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
  const held: { name: string }[] = await place.json(["list_locks"]);
  assert.deepEqual(held.map(({ name }) => name).filter((name) => !kept.has(name)), []);
}

onEach(targets, "SIGTERM at any moment leaves nothing locked", terminateAtMoments);

test("mysql and mariadb hybrid: SIGTERM at any moment leaves nothing locked", async () => {
  for (const [name, start] of [["mysql", startMysql], ["mariadb", startMariadb]] as const) {
    await using server = await start();
    const { url } = await freshDatabase(server);
    await using place = await Place.make(`${url.replace("mysql:", `${name}:`)}?lockmgr_mode=hybrid`);
    await terminateAtMoments(place);
  }
});
