import { connect, getLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted } from "../conformance/case.ts";
import { report } from "../history/checker.ts";
import { test } from "../harness.ts";
import { startGaleraCluster } from "../servers/galera.ts";
import { ask } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { nodesFailUnderWork } from "./node_faults.ts";

/** Clients of two nodes, one of which has a clock that is 5 s ahead: later holders are told from earlier ones. */
async function workOnClocksApart(exact: MysqlServer, ahead: MysqlServer): Promise<void> {
  await ask(exact.url, "CREATE USER limited IDENTIFIED BY 'pass-word'", "GRANT ALL PRIVILEGES ON test.* TO limited");
  await ask(ahead.url, "SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() + 5'");
  const urls = [exact, ahead].map((node) => node.urlOf("test", "limited", "pass-word"));
  await using backend = await connect(urls[0], { table: "locks" });
  await using other = await connect(urls[1], { table: "locks" });
  const advice = (await backend.diagnose!()).find(({ what }) => what === "cluster")?.advice;
  assert.match(advice!, /write to one node.*clocks/);
  const early = await getLock("clocks", { backend, expires: 3, autoRenew: true });
  const lost = aborted(early.signal);
  const late = await getLock("clocks", { backend: other, expires: 60, wait: 10 });
  assert(late.token > early.token);
  await lost;
  assert.deepEqual([await early.verify(), await early.unlock(), await late.verify()], [false, false, true]);
}

test("galera: clients of three nodes wait while a node stands still, is cut off or killed", async () => {
  await using cluster = await startGaleraCluster(["--sysdate-is-now"]);
  const { verdict, errors } = await nodesFailUnderWork(cluster, [
    { fault: "SIGSTOP", node: 0, lasts: 500 },
    { fault: "partition", node: 1, lasts: 500 },
    { fault: "SIGKILL", node: 2, lasts: Infinity },
  ], 1);
  assert.equal(verdict.offences.length, 0, report(verdict));
  assert.deepEqual([...errors], [], "a caller who waits is told of none");
  await workOnClocksApart(cluster.nodes[0], cluster.nodes[1]);
});
