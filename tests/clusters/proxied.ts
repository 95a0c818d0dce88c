/**
 * Clients that work through a PgBouncer or an HAProxy which is restarted, holds statements back or ends connections.
 *
 * @module
 */
import pg from "pg";
import { startHaproxy } from "../servers/haproxy.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { type Outcome, underWork } from "./workload.ts";

/** How long (ms) a holder may be told after the next grant where a proxy ends its connection at both ends at once. */
const TELLING_MS = 50;
/** How long (ms) PgBouncer holds every statement back: longer than an answer may take. */
const PAUSE_MS = 3_000;

/** What happens: a restart cuts all connections; a pause answers nothing; in silence a holder sends nothing. */
export type Disturbance = "restart" | "pause" | "silence";

/** Has PgBouncer begin or end to hold statements back. */
async function command(pooler: PgBouncer, words: "PAUSE" | "RESUME"): Promise<void> {
  const client = new pg.Client({ connectionString: pooler.urlOf("pgbouncer") }); // it takes no prepared statements
  await client.connect();
  await client.query(words);
  await client.end();
}

/** Disturbs clients behind a PgBouncer: of leases with its transactions pooled, of hybrid locks with its sessions. */
export async function pgbouncerUnderWork(
  port: number,
  mode: "lease" | "hybrid",
  disturbances: readonly Disturbance[],
  seed: number,
): Promise<Outcome> {
  const pooling = mode === "lease" ? "transaction" : "session";
  await using pooler = await PgBouncer.start(port, { mode: pooling, poolSize: 40 });
  return await underWork({
    urls: [pooler.url, pooler.url, pooler.url],
    options: { mode, table: `through_pgbouncer_${mode}_${seed}`, answerTimeout: 2 },
    expires: mode === "lease" ? 3 : 600,
    seed,
    telling: mode === "lease" ? 0 : TELLING_MS,
    fail: async (grants) => {
      for (const disturbance of disturbances) {
        if (disturbance === "restart") await pooler.restart();
        else {
          await command(pooler, "PAUSE");
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS)); // the pause
          await command(pooler, "RESUME");
        }
        await grants.again(0, 1, 2);
      }
    },
  });
}

/** Disturbs clients behind an HAProxy that ends a connection without a byte for so many seconds. */
export async function haproxyUnderWork(
  server: { readonly port: number; readonly urlOf: (port: number) => string },
  mode: "lease" | "session" | "hybrid",
  disturbances: readonly Disturbance[],
  { seed, idle = 3 }: { readonly seed: number; readonly idle?: number },
): Promise<Outcome> {
  await using proxy = await startHaproxy(server.port, idle);
  const url = server.urlOf(proxy.port);
  return await underWork({
    urls: [url, url, url],
    options: { mode, table: `through_haproxy_${seed}`, answerTimeout: 2 },
    ...mode === "session" ? {} : { expires: mode === "lease" ? 3 : 600 },
    seed,
    telling: mode === "lease" ? 0 : TELLING_MS,
    fail: async (grants) => {
      for (const disturbance of disturbances) {
        if (disturbance === "restart") {
          await proxy.kill();
          await proxy.run();
        } else { // its heartbeats are further apart than HAProxy lets a connection be idle
          await grants.keep(2);
          await grants.any(0, 1);
        }
        await grants.again(0, 1, 2);
      }
    },
  });
}
