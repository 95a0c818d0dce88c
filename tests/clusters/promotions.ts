/**
 * A standby that is promoted while clients work: some behind an address that moves with the primary, and one whose
 * connections stay with the old primary.
 *
 * @module
 */
import { Proxy } from "../faults/proxy.ts";
import type { Flavor } from "../mysql/flavors.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { PostgresServer } from "../servers/postgres.ts";
import type { Failure } from "./failures.ts";
import { MysqlPair } from "./mysql_pair.ts";
import { PostgresPair } from "./postgres_pair.ts";
import { type Outcome, underWork } from "./workload.ts";

/** How long a lease lasts, and a silent session (s). */
const LEASE = 3;
const SESSION_TIMEOUT = 2;
/** How much longer the name may be held after a promotion (s). */
const ALLOWANCE = 2;

/** One promotion, or one restart. */
export interface Promotion {
  readonly failure: Failure | "restart";
  readonly mode: "lease" | "hybrid";
  readonly seed: number;
}

/** What came of it. */
export interface PromotionOutcome extends Outcome {
  /** How long after the promotion the name was granted again (s). */
  readonly seconds: number;
  /** Whether that is within the lease or the session timeout, with 2 s for the clients to connect. */
  readonly inTime: boolean;
}

/** A pair of servers of either engine. */
export interface Pair extends AsyncDisposable {
  /** The ports of the primary and of the standby. */
  readonly ports: readonly [number, number];
  urlOf(port: number): string;
  promote(failure: Failure | "restart"): Promise<void>;
  /** Whether a promotion may lose the last commits: then two clients may hold one name. */
  readonly loses?: boolean;
}

/** One server as a pair: it crashes and starts again, in its own place. */
async function restarting(
  start: () => Promise<PostgresServer | MysqlServer>,
  urlOf: Pair["urlOf"],
): Promise<Pair> {
  const server = await start();
  return {
    ports: [server.port, server.port],
    urlOf,
    promote: async () => {
      await ("crash" in server ? server.crash() : server.kill());
      await server.start();
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/** The addresses of the servers. */
export const postgresUrl: Pair["urlOf"] = (port) => `postgres://postgres@127.0.0.1:${port}/postgres`;
export const mysqlUrl: Pair["urlOf"] = (port) => `mysql://tester:secret-word@127.0.0.1:${port}/test`;

/** Starts a PostgreSQL that is restarted. */
export function postgresRestarting(): Promise<Pair> {
  return restarting(() => PostgresServer.start(), postgresUrl);
}

/** Starts a MySQL or MariaDB that is restarted. */
export function mysqlRestarting(flavor: Flavor): Promise<Pair> {
  return restarting(() => flavor.start(), mysqlUrl);
}

/** Starts a PostgreSQL primary with its standby. */
export async function postgresPair(synchronous = true): Promise<Pair> {
  const pair = await PostgresPair.of(await PostgresServer.start(), synchronous);
  return {
    ports: [pair.primary.port, pair.standby.port],
    urlOf: postgresUrl,
    promote: (failure) => pair.promote(failure as Failure),
    loses: !synchronous,
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

/** Starts a MySQL or MariaDB primary with its replica. */
export async function mysqlPair(flavor: Flavor, synchronous = true): Promise<Pair> {
  const pair = await MysqlPair.start(flavor, synchronous);
  return {
    ports: [pair.primary.port, pair.replica.port],
    urlOf: mysqlUrl,
    promote: (failure) => pair.promote(failure as Failure),
    loses: !synchronous,
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

/** Promotes the standby while clients work. */
export async function promoteUnderWork(pair: Pair, { failure, mode, seed }: Promotion): Promise<PromotionOutcome> {
  const [primary, standby] = pair.ports;
  await using address = await Proxy.start(primary);
  await using staying = await Proxy.start(primary);
  let seconds = Infinity;
  const outcome = await underWork({
    urls: [address, address, staying].map(({ port }) => pair.urlOf(port)),
    options: { mode, table: "locks", sessionTimeout: SESSION_TIMEOUT, answerTimeout: 2 },
    expires: mode === "lease" ? LEASE : 600,
    seed,
    exclusive: !pair.loses,
    fail: async (grants) => {
      await grants.keep(2);
      if (failure === "crash" || failure === "restart") staying.strand();
      await pair.promote(failure);
      address.to = standby;
      address.cut();
      const promotedAt = performance.now();
      await grants.any(0, 1);
      seconds = (performance.now() - promotedAt) / 1e3;
      staying.to = standby;
      staying.cut();
      await grants.again(0, 1, 2);
    },
  });
  return { ...outcome, seconds, inTime: seconds <= (mode === "lease" ? LEASE : SESSION_TIMEOUT) + ALLOWANCE };
}
