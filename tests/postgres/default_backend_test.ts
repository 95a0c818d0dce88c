/** A default backend that cannot be opened yet. */
import { BackendError, getLock, getLocks, lead, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { later } from "../conformance/case.ts";
import { withEnvironment } from "../core/environment.ts";
import { test } from "../harness.ts";

test("default backend: a wait keeps its limit while the server cannot be reached", () =>
  withEnvironment({ LOCKMGR_URL: "postgres://anyone@127.0.0.1:1/none" }, async () => {
    const startedAt = performance.now();
    await assert.rejects(getLock("a", { wait: 0.7 }), (error) => error instanceof BackendError && error.retryable);
    assert(performance.now() - startedAt > 690, "it gave up early");
    await assert.rejects(tryLock("a"), BackendError);
    const stop = new AbortController();
    const endless = later(getLock("a", { wait: Infinity, signal: stop.signal }));
    stop.abort(new Error("stopped"));
    await assert.rejects(endless, /stopped/);
  }));

/** A wait of 0.2 s at a silent server ends within this time (ms); a connection attempt takes up to 15 s. */
const SOON_MS = 5_000;

for (const scheme of ["postgres", "mysql"]) {
  test(`default backend: a wait and a signal are heeded while a silent ${scheme} server is connected to`, async () => {
    const accepted: Socket[] = [];
    const silent = createServer((socket) => accepted.push(socket)).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    await withEnvironment({ LOCKMGR_URL: `${scheme}://anyone@127.0.0.1:${port}/any` }, async () => {
      const startedAt = performance.now();
      const isUnanswered = { name: "BackendError", retryable: true };
      await assert.rejects(getLock("a", { wait: 0.2 }), isUnanswered);
      await assert.rejects(getLocks(["a", "b"], { wait: 0.2 }), isUnanswered);
      const stop = new AbortController();
      const ended = [getLock("a", { signal: stop.signal }), getLock("a", { wait: 60, signal: stop.signal })].map(later);
      const leading = later(lead("a", { signal: stop.signal }, () => {}));
      stop.abort(new Error("stopped"));
      for (const each of ended) await assert.rejects(each, /stopped/);
      await leading;
      assert(performance.now() - startedAt < SOON_MS);
      silent.close();
      for (const each of accepted) each.destroy();
      await assert.rejects(tryLock("a"), isUnanswered); // the connection attempt has ended
    });
  });
}
