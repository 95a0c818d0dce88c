import { type Backend, connect, getLock, LockLost } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import process from "node:process";
import { aborted } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { sessionCases } from "../sessions/cases.ts";
import { administrator, freshTable, server } from "./server.ts";

for (const { name, run } of sessionCases) {
  test(name, async () => {
    await using sql = administrator();
    const table = freshTable();
    const opened: Backend[] = [];
    try {
      await run({
        urlOf: (mode) => `${server.url}?lockmgr_mode=${mode}&lockmgr_table=${table}`,
        async backend(options) {
          const backend = await connect(server.url, { table, ...options });
          opened.push(backend);
          return backend;
        },
        terminate: (session) => sql`SELECT pg_terminate_backend(${session}::int)`,
        cancel: (session) => sql`SELECT pg_cancel_backend(${session}::int)`,
        connections: async () => {
          const rows = await sql`SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory'`;
          return rows.length;
        },
      });
    } finally {
      for (const backend of opened) await backend[Symbol.asyncDispose]();
    }
  });
}

for (const mode of ["session", "hybrid"] as const) {
  test(`${mode}: the end of a session is noticed at once over TLS`, async () => {
    await using own = await PostgresServer.start({ tls: true, hba: ["hostnossl all all all reject"] });
    const url = `${own.url.replace("127.0.0.1", "localhost")}?sslmode=require`;
    await using backend = await connect(url, { mode, table: freshTable(), sessionTimeout: 60 }); // a heartbeat comes late
    await using sql = administrator(url);
    for (const end of ["pg_terminate_backend", "kill"]) {
      const lock = await getLock("a", { backend, wait: 10 });
      const lost = aborted(lock.signal);
      const startedAt = performance.now();
      if (end === "kill") process.kill(Number(lock.session), "SIGTERM");
      else await sql`SELECT pg_terminate_backend(${lock.session}::int)`;
      assert(await lost instanceof LockLost);
      const after = performance.now() - startedAt;
      assert(after < 5_000, `${end}: noticed after ${after} ms`);
      assert.equal(lock.held, false);
      await using next = await getLock("a", { backend, wait: 10 });
      assert(next.token > lock.token);
    }
  });
}
