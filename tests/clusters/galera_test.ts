import assert from "node:assert/strict";
import { report } from "../history/checker.ts";
import { test } from "../harness.ts";
import { startGaleraCluster } from "../servers/galera.ts";
import { underWork } from "./workload.ts";

test("galera: clients at work on three nodes, of which one is killed", async () => {
  await using cluster = await startGaleraCluster();
  const { nodes } = cluster;
  const { verdict } = await underWork({
    urls: nodes.map(({ url }) => url), // all nodes are written to
    options: { table: "locks", answerTimeout: 2 },
    expires: 3,
    seed: 1,
    fail: async (grants) => {
      for (let round = 0; round < 2; round++) await grants.again(0, 1, 2);
      await nodes[2].kill();
      await grants.again(0, 1);
    },
  });
  assert.equal(verdict.offences.length, 0, report(verdict));
});
