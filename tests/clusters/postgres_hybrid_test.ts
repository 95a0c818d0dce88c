import { type Backend, connect, getLock, LockLost } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import process from "node:process";
import { aborted } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, until } from "../postgres/server.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { type Failure, PostgresPair } from "./postgres_pair.ts";

/** Seconds of silence after which a session is given up. */
const SESSION_TIMEOUT = 2;
/** How much longer than that a name may be held after a failure (s). */
const ALLOWANCE = 2;

const urlOf = (port: number) => `postgres://postgres@127.0.0.1:${port}/postgres`;

/** A holder behind a proxy whose conversations stay with the server that they were opened to. */
async function holderOf(port: number, options: { mode: "hybrid"; table: string; sessionTimeout: number }) {
  const proxy = await Proxy.start(port);
  const backend = await connect(urlOf(proxy.port), options);
  const lock = await getLock("a", { backend, expires: 600 });
  const told = aborted(lock.signal).then((reason) => ({ reason, at: performance.now() }));
  return { proxy, backend, lock, told };
}

/** Takes the name over; the holder has to be told before, and the name to be free in time. */
async function takesOver(
  { told, lock }: Awaited<ReturnType<typeof holderOf>>,
  backend: Backend,
  failedAt: number,
): Promise<void> {
  const next = await getLock("a", { backend, wait: 30 });
  const grantedAt = performance.now();
  assert.equal(lock.held, false, "the holder still believes in its lock");
  const { reason, at } = await told;
  assert(reason instanceof LockLost);
  assert(at <= grantedAt, `told ${at - grantedAt} ms after the next grant`);
  const seconds = (grantedAt - failedAt) / 1e3;
  assert(seconds <= SESSION_TIMEOUT + ALLOWANCE, `free after ${seconds} s`);
  assert(next.token > lock.token);
  assert.equal(await next.unlock(), true);
}

for (const failure of ["crash", "hang", "split"] satisfies Failure[]) {
  test(`promotion: hybrid: a holder is told before the next grant after a ${failure}`, async () => {
    await using pair = await PostgresPair.of(await PostgresServer.start());
    const options = { mode: "hybrid", table: freshTable(), sessionTimeout: SESSION_TIMEOUT } as const;
    const holder = await holderOf(pair.primary.port, options);
    await using proxy = holder.proxy;
    await using _ = holder.backend;
    if (failure !== "split") proxy.strand();
    await pair.promote(failure);
    const failedAt = performance.now();
    await using taker = await connect(pair.standby.url, options);
    await takesOver(holder, taker, failedAt);
  });
}

/** How a server forgets the locks of its sessions and keeps its rows. */
const RESTARTS: Record<string, (server: PostgresServer) => Promise<void>> = {
  "a restart": async (server) => {
    await server.crash();
    await server.start();
  },
  // the server then ends all others and clears its memory, without a new start
  "the crash of one of its processes": async (server) => {
    await using sql = administrator(server.url);
    const [{ pid }] = await sql.unsafe("SELECT pg_backend_pid() AS pid");
    process.kill(pid, "SIGKILL");
    await until("the server takes connections", () => sql.unsafe("SELECT 1").then(() => true, () => false));
  },
};

for (const [what, restart] of Object.entries(RESTARTS)) {
  test(`restart: hybrid: a holder that hears nothing of ${what} is told before the next grant`, async () => {
    await using server = await PostgresServer.start();
    const options = { mode: "hybrid", table: freshTable(), sessionTimeout: SESSION_TIMEOUT } as const;
    const holder = await holderOf(server.port, options);
    await using proxy = holder.proxy;
    await using _ = holder.backend;
    proxy.strand();
    await restart(server);
    const failedAt = performance.now();
    await using taker = await connect(server.url, options);
    await takesOver(holder, taker, failedAt);
  });
}
