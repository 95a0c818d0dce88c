/** Two copies of the package in one program, as npm makes them when two libraries want different versions. */
import * as own from "@lockmgr/lockmgr";
import { UserLock } from "@lockmgr/lockmgr/mysql";
import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { later } from "../conformance/case.ts";
import { gated } from "./gated.ts";
import { around, test } from "./wrapping.ts";

type Package = typeof own;

/** Runs `body` with a further copy of the library, loaded from a folder of its own. */
async function withCopy(body: (copy: Package) => Promise<void>): Promise<void> {
  const entry = fileURLToPath(import.meta.resolve("@lockmgr/lockmgr"));
  const here = dirname(entry);
  const directory = await mkdtemp(join(here, ".copy-"));
  try {
    const parts = [basename(entry), "core", "backends", "shared"]; // in the package, the core is in the last one
    for (const part of parts.filter((part) => existsSync(join(here, part)))) {
      await cp(join(here, part), join(directory, part), { recursive: true });
    }
    await body(await import(pathToFileURL(join(directory, basename(entry))).href) as Package);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test("copies: handles, backends and errors of another copy are recognised", () =>
  withCopy(async (copy) => {
    assert.notEqual(copy.getLock, own.getLock);
    await using backend = await copy.connect("sqlite::memory:");
    const lock = await copy.getLock("a", { backend, expires: 10 });
    assert.equal(await own.isLocked(lock), true);
    assert.equal(await own.renewLock(lock, { expires: 60 }), lock);
    assert(lock.expiresIn! > 50);
    assert.equal(await own.unlock(lock), true);
    await using held = await own.getLock("b", { backend });
    assert(held.held);
    await assert.rejects(copy.getLock("b", { backend }), (error) => error instanceof own.Locked);
    await assert.rejects(copy.getLock("b", { backend, wait: 0.01 }), (error) => {
      assert(error instanceof own.LockTimeout && error instanceof own.Locked && error instanceof own.LockError);
      assert(!(error instanceof own.LockFail) && !(error instanceof own.BackendError));
      return true;
    });
    await assert.rejects(copy.renewLock("none", { backend }), (error) => error instanceof own.LockNotFound);
    class Mine extends own.Locked {}
    assert(!(new own.Locked("x") instanceof Mine) && new Mine("x") instanceof own.Locked);
    assert(!(Object.assign(new Error("x"), { code: "LOCKED" }) instanceof own.Locked), "a stranger's code");
  }));

test("copies: a disposal ends what another copy does on the backend", () =>
  withCopy(async (copy) => {
    await using other = await own.connect("sqlite::memory:");
    const backend: own.Backend = around(gated(other).backend, {
      [Symbol.asyncDispose]: () => own.closeLocks(backend, () => Promise.resolve()),
    });
    const started = Promise.withResolvers<void>();
    const goesOn = Promise.withResolvers<void>();
    const body = copy.withLock("body", { backend }, async () => (started.resolve(), await goesOn.promise, "result"));
    await started.promise;
    const lock = await copy.getLock("held", { backend });
    const waiting = later(copy.getLock("held", { backend, wait: 60 }));
    const signal = lock.signal;
    await backend[Symbol.asyncDispose]();
    assert(signal.aborted && !lock.held);
    await assert.rejects(waiting, /disposed/);
    goesOn.resolve();
    assert.equal(await body, "result");
    assert.deepEqual(await own.listLocks({ backend: other }), []);
  }));

test("copies: engines refuse a backend of another copy by name", async () => {
  // What the other copy has made known of its backend's connections is in its own module: only the mark is common.
  const mark = { [Symbol.for("@lockmgr/lockmgr/connections")]: true, acquire: () => assert.fail("it was asked") };
  const postgres = { engine: "postgres", mode: "lease", ...mark } as unknown as own.Backend;
  await assert.rejects(advisoryLock(postgres, "a"), /another copy of lockmgr made it/);
  const mysql = { engine: "mysql", mode: "lease", ...mark } as unknown as own.Backend;
  assert.throws(() => new UserLock("a", { backend: mysql }), /another copy of lockmgr made it/);
});

test("copies: an error of another copy's backend that may pass is tried again", () =>
  withCopy(async (copy) => {
    await using backend = await copy.connect("sqlite::memory:");
    let failures = 0;
    const failing = around(gated(backend).backend, {
      acquire: (requests, options) =>
        failures++ === 0
          ? Promise.reject(new copy.BackendError("Cannot reach the database", { retryable: true }))
          : backend.acquire(requests, options),
    });
    assert((await own.getLock("a", { backend: failing })).held);
    assert.equal(failures, 2);
  }));

test("copies: a clone of an error has its message, one of its fields the rest that a program looks at", async () => {
  await using backend = await own.connect("sqlite::memory:");
  await using _ = await own.getLock("a", { backend, lockedBy: "host" });
  const attempts = [
    own.getLock("a", { backend }),
    own.getLock("a", { backend, wait: 0.01 }),
    own.setLock("a", { backend, fail: true, renew: false }),
    own.renewLock("b", { backend }),
    own.connect("sqlite:/no/such/directory/locks.db"),
    own.connect("sqlite::memory:", { mode: "session" }),
    Promise.reject(new own.LockLost("a", "it expired")),
  ];
  for (const attempt of await Promise.allSettled(attempts)) {
    const { reason: error } = attempt as PromiseRejectedResult;
    assert(error instanceof own.LockError);
    const clone = structuredClone(error);
    assert(clone instanceof Error);
    assert.equal(clone.message, error.message);
    const sent: Partial<own.BackendError & own.Locked> = structuredClone({ ...error, message: error.message });
    const { code, name, message } = error;
    assert.deepEqual({ code: sent.code, name: sent.name, message: sent.message }, { code, name, message });
    if (error instanceof own.BackendError) assert.equal(sent.retryable, error.retryable);
    if (error instanceof own.Locked) assert.equal(sent.holder?.lockedBy, "host");
  }
});
