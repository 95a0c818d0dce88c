/**
 * What is done to processes and databases while they are used.
 *
 * @module
 */
import type { Environment, Fixture, Nodes } from "./environments.ts";
import type { Workers } from "./workers.ts";
import type { WorkerConfig } from "./worker_config.ts";
import type { Proxy } from "./proxy.ts";
import type { Random } from "./random.ts";

/** What a fault may work on. */
export interface Scene {
  readonly workers: Workers;
  readonly fixture: Fixture;
  readonly random: Random;
  /** Between the workers and the server, where the fault asked for it. */
  readonly proxy: Proxy | undefined;
  /** The shortest lease, in milliseconds. */
  readonly lease: number;
  /** Whether nothing may be left to time limits of many seconds. */
  readonly brief: boolean;
}

/** One thing that goes wrong. */
export interface Fault {
  readonly name: string;
  /** What it needs of an environment. @default "nothing" */
  readonly needs?: "server" | "proxy" | "disk" | "rows" | "nodes";
  /** Whether it keeps from a client that its connection has ended. @default false */
  readonly hides?: boolean;
  /** What workers are told besides. */
  readonly config?: Partial<WorkerConfig>;
  /** Does it once; it is called again and again while the workers work. */
  strike?(scene: Scene): Promise<void>;
}

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** Kills a holder or a waiter, whatever it does, and starts another. */
export const killed: Fault = {
  name: "SIGKILL",
  async strike({ workers, random }) {
    await sleep(random.between(50, 400));
    if (workers.left < 300 || workers.running.length === 0) return;
    await workers.kill(random.pick(workers.running));
    workers.spawn(Math.floor(random.between(0, 2 ** 31)));
  },
};

/** Workers kill themselves between a release and its answer; others are started in their place. */
const killedReleasing: Fault = {
  name: "killed between a release and its answer",
  needs: "rows",
  config: { diesReleasing: true },
  async strike({ workers, random }) {
    await sleep(random.between(50, 200));
    if (workers.left >= 300 && workers.running.length < 4) workers.spawn(Math.floor(random.between(0, 2 ** 31)));
  },
};

/** Stops one past its lease and lets it go on. */
const stopped: Fault = {
  name: "SIGSTOP past the lease, then SIGCONT",
  async strike({ workers, random, lease }) {
    await sleep(random.between(20, 200));
    if (workers.left < 0 || workers.running.length === 0) return;
    await workers.stop(random.pick(workers.running), lease * random.between(1, 3));
  },
};

const clocks: Fault = { name: "wall clocks hours off and jumping", config: { wildClock: true } };

const blocked: Fault = { name: "event loop blocked past the lease", needs: "rows", config: { blocks: true } };

const diskFull: Fault = {
  name: "disk full",
  needs: "disk",
  async strike({ workers, fixture, random }) {
    await sleep(random.between(50, 300));
    await workers.disturb("disk full", async () => {
      await fixture.disk!.fill();
      await sleep(random.between(50, 300));
      await fixture.disk!.free();
    }, 1);
  },
};

/** What was cut is noticed at once, and connected anew after pauses of up to 2 s (s). */
const RECOVERY = 2;
/** A server that says nothing is given up after 15 s on PostgreSQL; then as above (s). */
const RECOVERY_FROM_SILENCE = 15 + RECOVERY;

/** Trials ask for sessions that the server keeps for six seconds of silence; then as above (s). */
const SESSIONS_GIVEN_UP = 6 + RECOVERY;

const serverKilled: Fault = {
  name: "server killed and started again",
  needs: "server",
  async strike({ workers, fixture, random }) {
    await sleep(random.between(500, 1_000));
    if (workers.left < 0) return;
    await workers.disturb("server killed", async () => {
      await fixture.server!.kill();
      await sleep(random.between(0, 300));
      await fixture.server!.start();
    }, RECOVERY);
  },
};

const connectionsCut: Fault = {
  name: "connections cut by the server",
  needs: "server",
  async strike({ workers, fixture, random }) {
    await sleep(random.between(100, 500));
    await workers.disturb("connections cut", () => fixture.server!.cut(), RECOVERY);
  },
};

/** Nobody is let in, and those who are in are sent away. */
const noConnectionsLeft: Fault = {
  name: "no connections left",
  needs: "server",
  async strike({ workers, fixture, random }) {
    await sleep(random.between(100, 300));
    await workers.disturb("no connections left", async () => {
      await using _ = await fixture.server!.exhaust();
      await sleep(random.between(100, 400));
    }, RECOVERY);
  },
};

/** Statements wait at the server for longer than some callers do, and take effect later. */
const commitsLate: Fault = {
  name: "commits late",
  needs: "server",
  async strike({ workers, fixture, random, brief }) {
    await sleep(random.between(100, 500));
    if (workers.left < 0) return;
    await workers.disturb("commits late", async () => {
      await using _ = await fixture.server!.obstruct();
      await sleep(random.between(300, brief ? 900 : 5_000));
    }, RECOVERY);
  },
};

/** A fault of the network, for a while. */
function network(
  name: string,
  act: (proxy: Proxy, random: Random, brief: boolean) => Promise<void>,
  recovery: number = RECOVERY,
): Fault {
  return {
    name,
    needs: "proxy",
    async strike({ workers, random, proxy, brief }) {
      await sleep(random.between(50, 300));
      await workers.disturb(name, () => act(proxy!, random, brief), brief ? RECOVERY : recovery);
    },
  };
}

const networkCut = network("connections cut in the network", (proxy) => {
  proxy.cut();
  return Promise.resolve();
});

const delayed = network("messages late", async (proxy, random) => {
  proxy.delay = random.between(5, 400);
  await sleep(random.between(100, 500));
  proxy.delay = 0;
});

const requestsDropped = network("requests dropped", async (proxy, random) => {
  proxy.swallow = "requests";
  await sleep(random.between(50, 300));
  proxy.swallow = undefined;
  proxy.cut(); // what is half a conversation cannot go on
});

const answersSwallowed = network("answers swallowed after the statement took effect", async (proxy, random) => {
  proxy.swallow = "answers";
  await sleep(random.between(50, 300));
  proxy.swallow = undefined;
  proxy.cut();
});

const halfOpen: Fault = {
  ...network("half-open connections", async (proxy, random, brief) => {
    proxy.strand(); // these hear nothing any more, and are not told
    await sleep(random.between(300, 900));
    if (brief) proxy.cut();
  }, RECOVERY_FROM_SILENCE),
  hides: true,
};

const halfOpenAtServer = network(
  "answers swallowed, clients reset, the server not told",
  async (proxy, random, brief) => {
    proxy.swallow = "answers";
    await sleep(random.between(20, 300));
    proxy.cutClients(); // the server gives their sessions up by itself
    proxy.swallow = undefined;
    if (!brief) return;
    await sleep(random.between(100, 900));
    proxy.cut();
  },
  SESSIONS_GIVEN_UP,
);

/** Clients give a node up after 2 s, a new leader lets leases of up to 4 s begin again, and then as above (s). */
const RECOVERY_OF_CLUSTER = 2 + 4 + RECOVERY;

/** A fault of one node, for `longest` (ms) at most. */
function atNode(
  name: string,
  longest: number,
  act: (nodes: Nodes, node: number, whileAway: () => Promise<void>, random: Random) => Promise<void>,
): Fault {
  return {
    name,
    needs: "nodes",
    async strike({ workers, fixture, random }) {
      await sleep(random.between(100, 800));
      if (workers.left < 0) return;
      const nodes = fixture.nodes!;
      const node = Math.floor(random.between(0, nodes.size));
      const whileAway = () => sleep(random.between(0, longest));
      await workers.disturb(name, () => act(nodes, node, whileAway, random), RECOVERY_OF_CLUSTER);
    },
  };
}

const nodeKilled = atNode("node killed and started again", 1_500, async (nodes, node, whileAway) => {
  await nodes.kill(node);
  await whileAway();
  await nodes.restart(node);
});

const nodeFrozen = atNode("node frozen", 3_000, async (nodes, node, whileAway) => {
  nodes.freeze(node);
  await whileAway();
  nodes.resume(node);
});

const nodeCutOff = atNode("node cut off from its clients", 3_000, async (nodes, node, whileAway, random) => {
  const proxy = nodes.proxyOf(node);
  proxy.swallow = random.pick(["requests", "answers"] as const);
  await whileAway();
  proxy.swallow = undefined;
  proxy.cut();
});

const nodeSlow = atNode("node slow", 2_000, async (nodes, node, whileAway, random) => {
  const proxy = nodes.proxyOf(node);
  proxy.delay = random.between(5, 400);
  await whileAway();
  proxy.delay = 0;
});

/** Everything that can go wrong. */
export const faults: readonly Fault[] = [
  killed,
  killedReleasing,
  stopped,
  clocks,
  blocked,
  diskFull,
  serverKilled,
  connectionsCut,
  noConnectionsLeft,
  networkCut,
  delayed,
  requestsDropped,
  answersSwallowed,
  halfOpen,
  halfOpenAtServer,
  commitsLate,
  nodeKilled,
  nodeFrozen,
  nodeCutOff,
  nodeSlow,
];

/**
 * Whether faults may come together. The one mix that no session survives is a server that ends a connection while the
 * network keeps that from the client: nobody can tell it before it gives the silence up by itself.
 */
export function agree(mix: readonly Fault[], { mode }: Environment): boolean {
  return mode === "lease" || !mix.some(({ hides }) => hides) || !mix.some(({ needs }) => needs === "server");
}

/** Whether a fault can happen in an environment; `disks` says whether a disk that can be filled may be had. */
export function concerns({ needs }: Fault, { engine, mode, served }: Environment): boolean {
  if (needs === "disk") return engine === "sqlite";
  if (needs === "nodes") return engine === "etcd";
  if (needs === "rows") return mode !== "session";
  return needs === undefined || served;
}
