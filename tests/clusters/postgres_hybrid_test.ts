import process from "node:process";
import { test } from "../harness.ts";
import { administrator, freshTable, until } from "../postgres/server.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { FAILURES } from "./failures.ts";
import { PostgresPair } from "./postgres_pair.ts";
import { takeOver } from "./takeover.ts";

const urlOf = (port: number) => `postgres://postgres@127.0.0.1:${port}/postgres`;

test("postgres: hybrid: a holder is told before the next grant when a standby is promoted", async () => {
  await Promise.all(FAILURES.map(async (failure) => {
    await using pair = await PostgresPair.of(await PostgresServer.start());
    await takeOver({
      urlOf,
      port: pair.primary.port,
      table: freshTable(),
      stranded: failure === "crash",
      fail: () => pair.promote(failure),
      to: pair.standby.port,
    });
  }));
});

/** How a server forgets the locks of its sessions and keeps its rows. */
const RESTARTS: Record<string, (server: PostgresServer) => Promise<void>> = {
  "a restart": async (server) => {
    await server.crash();
    await server.start();
  },
  // the server then ends all others and clears its memory, without a new start
  "the crash of one of its processes": async (server) => {
    await using sql = administrator(server.url);
    const [{ pid }] = await sql.unsafe("SELECT pg_backend_pid() AS pid");
    process.kill(pid, "SIGKILL");
    await until("the server takes connections", () => sql.unsafe("SELECT 1").then(() => true, () => false));
  },
};

test("postgres: hybrid: a holder that hears nothing of a restart is told before the next grant", async () => {
  await Promise.all(
    Object.values(RESTARTS).map(async (restart) => {
      await using server = await PostgresServer.start();
      const { port } = server;
      await takeOver({ urlOf, port, table: freshTable(), stranded: true, fail: () => restart(server), to: port });
    }),
  );
});
