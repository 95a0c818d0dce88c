import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { test } from "../harness.ts";
import { Place } from "./program.ts";

/** Node gives every signal its default action before a program can look. */
const IS_NODE = !("Deno" in globalThis) && !("Bun" in globalThis);
/** A command that ends by SIGUSR1 with a code of its own. */
const UNTIL_USR1 = ["sh", "-c", "trap 'exit 5' USR1; echo started; while :; do sleep 0.05; done"];

if (existsSync("/proc/self/status")) {
  const ignoring: [what: string, script: string, signals: NodeJS.Signals[]][] = [
    ["nohup", 'nohup "$@"', ["SIGHUP"]],
    ...IS_NODE ? [] : [
      ["a shell's background", "trap '' INT QUIT; exec \"$@\"", ["SIGINT", "SIGQUIT"]],
      ["a caller that ignores all", "trap '' HUP INT QUIT TERM USR2; exec \"$@\"", ["SIGTERM", "SIGHUP", "SIGUSR2"]],
    ] as [string, string, NodeJS.Signals[]][],
  ];
  for (const [what, script, signals] of ignoring) {
    test(`run under ${what}: signals that were ignored stay ignored`, async () => {
      await using place = await Place.make();
      const running = place.inShell(script, ["run", "job", "--", ...UNTIL_USR1]);
      await running.says(/started/);
      for (const signal of signals) running.kill(signal);
      running.kill("SIGUSR1"); // forwarded after the others, were they forwarded
      assert.equal((await running.ended).code, 5);
      const waiting = place.inShell(script, ["watch"]);
      await place.run(["set_lock", "job"]);
      await waiting.says(/"name":"job"/);
      for (const signal of signals) waiting.kill(signal);
      await place.run(["set_lock", "later"]);
      await waiting.says(/"name":"later"/);
      waiting.kill("SIGKILL");
      await waiting.ended;
    });
  }
}

test("a signal after the outcome does not end the program, whose exit code tells that its lock stays", async () => {
  await using place = await Place.make();
  const keeping = place.startAfter(new URL("./signalled_at_exit.ts", import.meta.url), ["set_lock", "job", "-k"]);
  const { code, stderr } = await keeping.ended;
  assert.deepEqual([code, stderr], [0, ""]);
  const held: { name: string }[] = await place.json(["list_locks"]);
  assert.deepEqual(held.map(({ name }) => name), ["job"]);
});

test("SIGTERM ends a command at once while the database does not answer", async () => {
  const server = createServer(() => {}).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  try {
    await using place = await Place.make(`postgres://127.0.0.1:${port}/db`);
    for (const args of [["list_locks"], ["set_lock", "job"], ["run", "job", "--", "true"], ["watch"]]) {
      const running = place.start(args);
      const [socket] = await once(server, "connection");
      running.kill("SIGTERM");
      const killedAt = performance.now();
      const { code, stdout, stderr } = await running.ended;
      assert.deepEqual([code, stdout, stderr], [143, "", ""], args.join(" "));
      assert(performance.now() - killedAt < 5_000, `${args.join(" ")} took ${performance.now() - killedAt} ms`);
      socket.destroy();
    }
  } finally {
    server.close();
  }
});
