/** What only the queue of this engine does: it sees that the process of a waiter has disconnected. */
import { connect, getLock, listLocks } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

test("a waiter whose process has disconnected is skipped at once", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  await using other = await connect(server.url, { table });
  const holder = await getLock("a", { backend });
  const waiter = {
    owner: "dead",
    limit: 1,
    duration: 60e6,
    until: 4e15,
    lockedBy: "x",
    lockProcess: null,
    metadata: null,
  };
  const line = JSON.stringify([{ ...waiter, channel: "lockmgr_gone", listens: "true" }]);
  await sql.unsafe(`UPDATE ${table} SET line_owner = owner, line = $1::text::jsonb`, [line]);
  const waiting = getLock("a", { backend: other, wait: 30 });
  await until("it waits alone", async () => (await listLocks({ backend }))[0].waiters === 1);
  await holder.unlock();
  const releasedAt = performance.now();
  await (await waiting).unlock();
  assert(performance.now() - releasedAt < 1_000, "the dead waiter was granted the lock");
});
