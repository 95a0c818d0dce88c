import { type Backend, connect } from "@lockmgr/lockmgr";
import { test } from "../harness.ts";
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
        carriers: async () => {
          const rows = await sql`SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory'`;
          return rows.length;
        },
      });
    } finally {
      for (const backend of opened) await backend[Symbol.asyncDispose]();
    }
  });
}
