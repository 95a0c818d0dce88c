/**
 * A fetch handler for Deno Deploy, Supabase Edge Functions or Cloudflare Workers: a lease through a transaction pooler.
 * It sends one statement per operation, needs no session state, and leaves no work after the response.
 *
 * The lease lasts longer than the platform lets a request run, so it needs no renewal. `migrate: false` runs no DDL;
 * `lockmgr schema` prints it.
 *
 * @module
 */
import { tryLock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";

/** The longest time that the platform lets a request run, in seconds. */
const LONGEST_REQUEST = 60;

/** The bindings that the platform passes to the handler. */
export interface Environment {
  /** The address of the pooler. */
  readonly DATABASE_URL: string;
}

/** Does work that must not run twice at the same time; a second request gets 409 and may retry. */
export default {
  async fetch(request: Request, environment: Environment): Promise<Response> {
    const job = new URL(request.url).pathname.slice(1) || "default";
    await using backend = await postgresBackend(environment.DATABASE_URL, { maxConnections: 1, migrate: false });
    await using lock = await tryLock(`job:${job}`, { backend, expires: LONGEST_REQUEST, lockedBy: "edge" });
    if (lock === undefined) return new Response("busy\n", { status: 409, headers: { "retry-after": "5" } });
    await new Promise((resolve) => setTimeout(resolve, 100)); // the work
    return new Response(`done under token ${lock.token}\n`, { status: lock.held ? 200 : 500 });
  },
};
