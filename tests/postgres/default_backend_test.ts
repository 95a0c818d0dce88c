/** A default backend that cannot be opened yet. */
import { BackendError, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import process from "node:process";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";

test("default backend: a wait keeps its limit while the server cannot be reached", async () => {
  const before = process.env.LOCKMGR_URL;
  process.env.LOCKMGR_URL = "postgres://nobody@127.0.0.1:1/none";
  try {
    const startedAt = performance.now();
    await assert.rejects(getLock("a", { wait: 0.7 }), (error) => error instanceof BackendError && error.retryable);
    assert(performance.now() - startedAt > 690, "it gave up early");
    await assert.rejects(tryLock("a"), BackendError);
    const stop = new AbortController();
    const endless = later(getLock("a", { wait: Infinity, signal: stop.signal }));
    stop.abort(new Error("stopped"));
    await assert.rejects(endless, /stopped/);
  } finally {
    if (before === undefined) delete process.env.LOCKMGR_URL;
    else process.env.LOCKMGR_URL = before;
  }
});
