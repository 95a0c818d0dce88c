import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { freshDatabase } from "../servers/mysql_database.ts";
import { Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid", "session")];

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
async function terminateAtMoments(place: Place, { mode }: { readonly mode: Mode }): Promise<void> {
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
  if (mode !== "session") {
    const held: { name: string }[] = await place.json(["list_locks"]);
    return assert.deepEqual(held.map(({ name }) => name).filter((name) => !kept.has(name)), []);
  }
  holding!.process.stdin.end();
  assert.equal((await holding!.ended).code, 0);
  await using backend = await connect(place.environment.LOCKMGR_URL);
  const names = ["held", ...Array.from({ length: ROUNDS }, (_, round) => `name ${round} 0`)];
  for (const name of names) await (await getLock(name, { backend, wait: 10 })).unlock(); // the server may notice later
}

onEach(targets, "SIGTERM at any moment leaves nothing locked", terminateAtMoments);

test("mysql and mariadb hybrid: SIGTERM at any moment leaves nothing locked", async () => {
  for (const [name, start] of [["mysql", startMysql], ["mariadb", startMariadb]] as const) {
    await using server = await start();
    const { url } = await freshDatabase(server);
    await using place = await Place.make(`${url.replace("mysql:", `${name}:`)}?lockmgr_mode=hybrid`);
    await terminateAtMoments(place, { mode: "hybrid" });
  }
});
