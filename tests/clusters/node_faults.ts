/**
 * Nodes of a Galera cluster that are killed, stand still or lose the others, while clients of every node work.
 *
 * @module
 */
import process from "node:process";
import type { Random } from "../faults/random.ts";
import { type GaleraCluster, isSynced } from "../servers/galera.ts";
import { ask } from "../servers/mysql_database.ts";
import { type Outcome, underWork } from "./workload.ts";

/** How a node fails. */
export const NODE_FAULTS = ["SIGKILL", "SIGSTOP", "partition"] as const;

/** Killed; standing still; alive, without a way to the other nodes. */
export type NodeFault = (typeof NODE_FAULTS)[number];

/** What a node goes through. */
export interface NodeFailure {
  readonly fault: NodeFault;
  /** Which node. */
  readonly node: number;
  /** How long (ms); `Infinity` does not end. */
  readonly lasts: number;
}

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** Cuts a node off from the others, or joins them again; its clients reach it all the time. */
async function isolate(cluster: GaleraCluster, node: number, cut: boolean): Promise<void> {
  await ask(cluster.nodes[node].url, `SET GLOBAL wsrep_provider_options = 'gmcast.isolate=${cut ? 1 : 0}'`);
}

/** Lets a node fail for a while. It may be long before it belongs to the others again. */
async function fail(cluster: GaleraCluster, { fault, node, lasts }: NodeFailure): Promise<void> {
  const { pid } = cluster.nodes[node];
  if (fault === "SIGKILL") await cluster.nodes[node].kill();
  else if (fault === "SIGSTOP") process.kill(pid, fault);
  else await isolate(cluster, node, true);
  if (lasts === Infinity) return;
  try {
    await sleep(lasts); // the fault's length
  } finally {
    if (fault === "SIGKILL") await cluster.revive(node);
    else if (fault === "SIGSTOP") process.kill(pid, "SIGCONT");
    else await isolate(cluster, node, false);
  }
}

/** A failure of any node, for 1 s to 12 s: Galera takes a silent node for dead after 5 s. */
export function anyFailure(random: Random): NodeFailure {
  return { fault: random.pick(NODE_FAULTS), node: random.pick([0, 1, 2]), lasts: random.between(1_000, 12_000) };
}

/** Lets nodes fail, one after the other, while a client of each works on one name. */
export function nodesFailUnderWork(
  cluster: GaleraCluster,
  failures: readonly NodeFailure[],
  seed: number,
): Promise<Outcome> {
  return underWork({
    urls: cluster.nodes.map(({ url }) => url), // all nodes are written to
    options: { table: "locks", answerTimeout: 2 },
    expires: 3,
    seed,
    fail: async (grants) => {
      for (const failure of failures) {
        const others = [0, 1, 2].filter((node) => node !== failure.node);
        const failing = fail(cluster, failure);
        await Promise.all([failing, grants.again(...others)]);
        if (failure.lasts === Infinity) continue;
        await isSynced(cluster.nodes[failure.node], 3);
        await grants.again(0, 1, 2);
      }
    },
  });
}
