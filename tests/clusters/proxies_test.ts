import { getLock, LockLost } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, allEnded, later, unlessPaused, watchPauses } from "../conformance/case.ts";
import { report } from "../history/checker.ts";
import { test } from "../harness.ts";
import { flavors } from "../mysql/flavors.ts";
import { freshTable, server } from "../postgres/server.ts";
import { connectAgain } from "../servers/connect_again.ts";
import { startHaproxy } from "../servers/haproxy.ts";
import { mysqlUrl, postgresUrl } from "./promotions.ts";
import { pgbouncerUnderWork } from "./proxied.ts";

const ENGINES = [
  { port: server.port, urlOf: postgresUrl },
  ...flavors.map(({ shared }) => ({ port: shared.port, urlOf: mysqlUrl })),
];
/** After how many seconds without a byte HAProxy ends a connection. */
const IDLE = 2;
/** Maximum delay (ms) from the next grant to the loss signal: HAProxy closes its two connections one after the other. */
const LOSS_SIGNAL_MS = 50;

/** Runs something on every engine in every mode at the same time. */
async function onAll(modes: readonly ("lease" | "session" | "hybrid")[], run: Run): Promise<void> {
  await allEnded(ENGINES.map(async ({ port, urlOf }) => {
    await using proxy = await startHaproxy(port, IDLE);
    const table = freshTable();
    await allEnded(modes.map((mode) => run({ mode, table, direct: urlOf(port), proxied: urlOf(proxy.port) })));
  }));
}

/** What runs, with the addresses of a server and of the proxy before it. */
type Run = (place: {
  readonly mode: "lease" | "session" | "hybrid";
  readonly table: string;
  readonly direct: string;
  readonly proxied: string;
}) => Promise<void>;

/** A lock outlives the idle timeout by its renewals or heartbeats, and so does a waiter. */
async function outlive(): Promise<void> {
  await onAll(["lease", "session", "hybrid"], async ({ mode, table, direct, proxied }) => {
    const options = { mode, table, ...mode === "lease" ? {} : { sessionTimeout: 3 } }; // heartbeats come in its thirds
    const expires = mode === "session" ? {} : { expires: 5 };
    await using _ = await connectAgain(direct, { mode, table }); // which makes the table
    await unlessPaused(async () => {
      await using holder = await connectAgain(proxied, options);
      await using other = await connectAgain(proxied, options);
      const lock = await getLock(mode, { backend: holder, wait: 20, autoRenew: true, ...expires });
      const waiting = later(getLock(mode, { backend: other, wait: 20 }));
      await new Promise((resolve) => setTimeout(resolve, 2.5 * IDLE * 1e3)); // nothing else is sent meanwhile
      assert.equal(lock.held, true, mode);
      assert.equal(await lock.verify(), true, mode);
      assert.equal(await lock.unlock(), true, mode);
      await (await waiting).unlock();
    });
  });
}

/** A holder whose heartbeats are too rare is told when the proxy ends its session. */
async function areTold(): Promise<void> {
  await onAll(["session", "hybrid"], async ({ mode, table, direct, proxied }) => {
    for (let tries = 0;; tries++) {
      await using other = await connectAgain(direct, { mode, table });
      await using holder = await connectAgain(proxied, { mode, table });
      const lock = await getLock(mode, { backend: holder, wait: 20 }); // the proxy may end a connection before
      const signalled = aborted(lock.signal).then((reason) => ({ reason, at: performance.now() }));
      const next = await getLock(mode, { backend: other, wait: 20 });
      using pauses = watchPauses(LOSS_SIGNAL_MS / 2);
      const grantedAt = performance.now();
      const { reason, at } = await signalled;
      const paused = pauses.paused();
      assert(reason instanceof LockLost);
      assert(next.token > lock.token);
      await next.unlock();
      if (at - grantedAt <= LOSS_SIGNAL_MS) return;
      assert(tries < 2 && paused, `${mode}: signalled ${at - grantedAt} ms after the next grant`);
    }
  });
}

test("haproxy: a lock outlives the idle timeout by heartbeats in time; without them its holder is told", async () => {
  await allEnded([outlive(), areTold()]);
});

test("pgbouncer: clients wait while it is restarted or paused", async () => {
  await allEnded((["lease", "hybrid"] as const).map(async (mode) => {
    const disturbances = mode === "lease" ? ["pause", "restart"] as const : ["restart"] as const;
    const { verdict, errors } = await pgbouncerUnderWork(server.port, mode, disturbances, 1);
    assert.equal(verdict.offences.length, 0, report(verdict));
    assert.deepEqual([...errors], [], "a caller who waits is told of none");
  }));
});
