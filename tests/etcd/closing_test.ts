import { BackendError, connect } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import "../../examples/backends/etcd.ts";
import { later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { EtcdCluster } from "../servers/etcd.ts";

/** What a disposal promises (ms), and what a busy machine takes besides. */
const CLOSED_WITHIN_MS = 4_000;

const cluster = await EtcdCluster.start();

/** What is under way is aborted after so long (ms). */
const ENDED_AFTER_MS = 500;

/** Disposes of a backend while it renews, and returns how the renewal ended by then, and how long that took (ms). */
async function renewWhileClosing(disturb: (proxy: Proxy) => void): Promise<{ outcome: unknown; took: number }> {
  await using proxy = await Proxy.start(cluster.ports[0]);
  await using backend = await connect(`etcd://127.0.0.1:${proxy.port}`);
  const request = { name: crypto.randomUUID(), owner: crypto.randomUUID(), lockedBy: "tests", lockProcess: null };
  await backend.acquire([{ ...request, duration: 30e6, metadata: null, limit: 1 }]);
  disturb(proxy);
  let outcome: unknown = "it has not ended";
  const renewal = later(backend.renew([{ ...request, from: "now", add: 60e6 }]));
  renewal.then(([row]) => outcome = row?.lockedUntil! - row?.updatedAt!, (error) => outcome = error);
  const startedAt = performance.now();
  await backend[Symbol.asyncDispose]();
  const took = performance.now() - startedAt;
  assert(took < CLOSED_WITHIN_MS, `the disposal took ${took} ms`);
  return { outcome, took };
}

test("etcd: a disposal waits for a renewal under way, of several requests", async () => {
  const { outcome, took } = await renewWhileClosing((proxy) => proxy.delay = 20);
  if (took < ENDED_AFTER_MS) assert.equal(outcome, 60e6);
  else assert(outcome === 60e6 || outcome instanceof BackendError, String(outcome)); // a machine that stands still
});

test("etcd: a disposal aborts a renewal that etcd does not answer", async () => {
  const { outcome } = await renewWhileClosing((proxy) => proxy.swallow = "answers");
  assert(outcome instanceof BackendError, String(outcome));
  assert.match(outcome.message, /disposed/);
});
