import { type Backend, BackendError, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { flavors } from "../mysql/flavors.ts";
import { freshTable } from "../postgres/server.ts";
import { connectAgain } from "../servers/connect_again.ts";
import { PostgresServer } from "../servers/postgres.ts";
import type { Failure } from "./failures.ts";
import { MysqlPair } from "./mysql_pair.ts";
import { PostgresPair } from "./postgres_pair.ts";

/** A cluster of two servers; the one that takes no writes is named first. */
interface Cluster extends AsyncDisposable {
  readonly url: string;
  promote(failure: Failure): Promise<void>;
}

/** Fails as soon as an error is not one that passes. */
async function tries(backend: Backend): Promise<void> {
  for (let round = 0; round < 20; round++) {
    const lock = await tryLock("b", { backend }).catch((error) => {
      if (!(error instanceof BackendError && error.retryable)) throw error;
    });
    await lock?.unlock();
  }
}

const clusters: Record<string, () => Promise<Cluster>> = {
  postgres: async () => {
    const pair = await PostgresPair.of(await PostgresServer.start());
    const hosts = [pair.standby, pair.primary].map(({ port }) => `127.0.0.1:${port}`);
    return {
      url: `postgres://postgres@${hosts.join(",")}/postgres?target_session_attrs=read-write`,
      promote: (failure) => pair.promote(failure),
      [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
    };
  },
  ...Object.fromEntries(flavors.map((flavor) =>
    [flavor.name, async () => {
      const pair = await MysqlPair.start(flavor);
      const hosts = [pair.replica, pair.primary].map(({ port }) => `127.0.0.1:${port}`);
      return {
        url: `mysql://tester:secret-word@${hosts.join(",")}/test`,
        promote: (failure) => pair.promote(failure),
        [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
      };
    }] satisfies [string, () => Promise<Cluster>]
  )),
};

for (const [engine, open] of Object.entries(clusters)) {
  test(`${engine}: two hosts: the same backends go on after a promotion`, async () => {
    await using cluster = await open();
    const table = freshTable();
    await using lease = await connectAgain(cluster.url, { table, answerTimeout: 5 });
    await using hybrid = await connectAgain(cluster.url, {
      table,
      mode: "hybrid",
      sessionTimeout: 5,
      answerTimeout: 5,
    });
    await tries(lease);
    assert.equal((await lease.diagnose!()).find(({ what }) => what === "failover")?.state, "ok");
    await using sessions = await connectAgain(cluster.url, { table, mode: "session", answerTimeout: 5 });
    const told = (await sessions.diagnose!()).find(({ what }) => what === "failover");
    assert.equal(told?.state, "warning");
    assert.match(told.advice!, /hybrid/);
    const tokens = await Promise.all([lease, hybrid].map(async (backend) => {
      const lock = await getLock(backend.mode, { backend, expires: 5 }); // a crash may undo the release of a short lease
      await lock.unlock();
      return lock.token;
    }));
    await cluster.promote("crash");
    await Promise.all([lease, hybrid].map(async (backend, index) => {
      const lock = await getLock(backend.mode, { backend, wait: 20 });
      assert(lock.token > tokens[index], "tokens increase");
      assert.equal(await lock.verify(), true);
      assert.equal(await lock.unlock(), true);
      await tries(backend);
    }));
  });
}
