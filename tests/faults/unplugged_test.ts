/**
 * The machine of a holder vanishes from the network, so that no side is told: the holder gives its lock up by itself,
 * and only then another gets it, although the server still takes the connection for alive.
 */
import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { later } from "../conformance/case.ts";
import { skip, test } from "../harness.ts";
import { sharedClock } from "../history/clock.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { farMachine, mayHaveFarMachine } from "./far_machine.ts";

/** Seconds after which the server ends a silent session, and that a lease lasts. */
const TIMEOUT = 3;
/** How much longer than that the waiter may take (s): the server counts from what it heard last, and in whole seconds. */
const SLACK = 4;

/** A server that takes connections from other machines. */
type Reachable = { readonly url: string } & AsyncDisposable;

const servers: Readonly<Record<string, () => Promise<Reachable>>> = {
  postgres: () =>
    PostgresServer.start({ settings: { listen_addresses: "*" }, hba: ["host all all 10.231.0.0/16 trust"] }),
  mysql: () => startMysql({ settings: ["--bind-address=0.0.0.0"] }),
  mariadb: () => startMariadb({ settings: ["--bind-address=0.0.0.0"] }),
};

async function unplugged(server: Reachable, mode: Mode): Promise<void> {
  await using machine = await farMachine();
  const options = { mode, sessionTimeout: TIMEOUT, table: `unplugged_${mode}` };
  const url = new URL(server.url);
  url.hostname = machine.address;
  const config = { target: url.href, options, expires: mode === "session" ? null : mode === "lease" ? TIMEOUT : 60 };
  const program = fileURLToPath(new URL("far_holder.ts", import.meta.url));
  const [command, ...first] = [...machine.command, process.execPath, "run", "-A", "--quiet", "--no-check", program];
  const child = spawn(command, [...first, JSON.stringify(config)], { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  try {
    const said = createInterface(child.stdout!)[Symbol.asyncIterator]();
    assert.equal((await said.next()).value, "held");
    await using backend = await connect(server.url, options);
    const waiter = later(getLock("far away", { backend, wait: 30 }).then((lock) => ({ lock, at: sharedClock() })));
    await machine.unplug();
    const unpluggedAt = sharedClock();
    const { lock, at } = await waiter;
    const [word, lostAt] = String((await said.next()).value).split(" ");
    assert.equal(word, "lost");
    assert(Number(lostAt) <= at, `told ${(Number(lostAt) - at) / 1e3} ms after another had it`);
    assert(at - unpluggedAt < (TIMEOUT + SLACK) * 1e6, `free after ${(at - unpluggedAt) / 1e6} s`);
    await lock.unlock();
  } finally {
    child.kill("SIGKILL");
    await closed;
  }
}

const possible = await mayHaveFarMachine();
for (const [engine, start] of Object.entries(servers)) {
  const name = `faults: ${engine}: the machine of a holder vanishes, who is told before another has the lock`;
  if (!possible) {
    skip(name, "only root may lay a cable, with ip and tc");
    continue;
  }
  test(name, async () => {
    await using server = await start();
    const modes: Mode[] = ["session", "hybrid", "lease"];
    await Promise.all(modes.map((mode) => unplugged(server, mode)));
  });
}
