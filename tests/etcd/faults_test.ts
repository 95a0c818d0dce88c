/** etcd while its nodes fail; `deno task soak --engine etcd` does it for longer. `LOCKMGR_SEED` repeats a run's choices. */
import { connect, getLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import process from "node:process";
import "../../examples/backends/etcd.ts";
import { later } from "../conformance/case.ts";
import { etcdEnvironment } from "../faults/etcd_environment.ts";
import type { Nodes } from "../faults/environments.ts";
import { concerns, faults } from "../faults/faults.ts";
import { trial } from "../faults/trial.ts";
import { test } from "../harness.ts";
import { report } from "../history/checker.ts";
import { EtcdCluster } from "../servers/etcd.ts";

/** A holder renews often enough to keep this lease (s) while a node is given up and a new leader is elected. */
const LEASE = 15;
/** The longest wait (s): two such pauses, on a busy machine. */
const WAIT = 30;

const seed = Number(process.env.LOCKMGR_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Uses locks while each of the nodes in turn, one of which leads, is away. */
async function goOnWithout(
  leave: (nodes: Nodes, node: number) => unknown,
  comeBack: (nodes: Nodes, node: number) => unknown,
): Promise<void> {
  await using cluster = await EtcdCluster.start();
  await using fixture = await etcdEnvironment(cluster).open();
  const nodes = fixture.nodes!;
  await using holder = await connect(fixture.target, fixture.options);
  await using other = await connect(fixture.target, fixture.options);
  const kept = await getLock("kept", { backend: holder, expires: LEASE, autoRenew: true });
  for (let node = 0; node < nodes.size; node++) {
    const released = await getLock("released", { backend: holder });
    await leave(nodes, node);
    try {
      const waiter = later(getLock("released", { backend: other, wait: WAIT }));
      assert.equal(await released.unlock(), true);
      const next = await waiter;
      assert(next.token > released.token);
      assert.equal(await kept.verify(), true);
      assert.equal(await next.unlock(), true);
    } finally {
      await comeBack(nodes, node);
    }
  }
  assert.equal(await kept.unlock(), true);
}

test("etcd: callers go on while a node is killed", async () => {
  await goOnWithout((nodes, node) => nodes.kill(node), (nodes, node) => nodes.restart(node));
});

test("etcd: callers go on while a node is cut off", async () => {
  await goOnWithout((nodes, node) => nodes.freeze(node), (nodes, node) => nodes.resume(node));
});

test("etcd: nodes, network and processes fail in turn", async () => {
  await using cluster = await EtcdCluster.start();
  const environment = etcdEnvironment(cluster);
  const chosen = faults.filter((fault) => concerns(fault, environment));
  const { verdict, breakages, kept, recovered } = await trial(environment, chosen, { seed, seconds: 60, inTurn: true });
  const story = `LOCKMGR_SEED=${seed}, history in ${kept}\n${breakages.join("\n")}\n${report(verdict)}`;
  assert(kept === undefined, story);
  assert(recovered > 0, `nothing was held after the faults\n${story}`);
});
