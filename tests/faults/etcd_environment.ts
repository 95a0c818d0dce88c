/**
 * etcd of three nodes, each behind a proxy of the trial's own.
 *
 * @module
 */
import type { EtcdCluster } from "../servers/etcd.ts";
import type { Environment } from "./environments.ts";
import { Proxy } from "./proxy.ts";

/**
 * What etcd keeps a name for beyond the holder's lease (s): whole seconds, a look at the expired ones twice a second, and
 * a new leader, which lets each lease of up to 4 s begin again.
 */
const OVERDUE = { always: 2, newLeader: 6 };

let trials = 0;

/** Leases on a cluster that is treated badly. */
export function etcdEnvironment(cluster: EtcdCluster): Environment {
  return {
    engine: "etcd",
    name: "etcd lease",
    mode: "lease",
    served: false,
    shortestLease: 1,
    tolerance: { waiting: 2 + OVERDUE.always, overdue: OVERDUE.newLeader },
    async open() {
      const proxies = await Promise.all(cluster.ports.map((port) => Proxy.start(port)));
      return {
        target: `etcd://${proxies.map(({ port }) => `127.0.0.1:${port}`).join(",")}`,
        options: { table: `trial_${++trials}` },
        nodes: {
          size: cluster.size,
          kill: (node) => cluster.kill(node),
          async restart(node) {
            await cluster.restart(node);
            await cluster.ready();
          },
          freeze: (node) => cluster.freeze(node),
          resume: (node) => cluster.resume(node),
          proxyOf: (node) => proxies[node],
        },
        async [Symbol.asyncDispose]() {
          for (const proxy of proxies) await proxy.close();
        },
      };
    },
  };
}
