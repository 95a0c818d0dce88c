import { conformance } from "@lockmgr/lockmgr/conformance";
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { type Database, engines, registrations } from "./backends.ts";

for (const { name: backend, mode, create } of registrations) {
  const rows = mode !== "session";
  let database: Database; // each case has one of its own
  conformance({
    supports: { mode, queueing: rows, keeping: rows, adopting: mode === "lease" },
    open: () => database.open(),
    test: (name, body) =>
      test(`${backend}: ${name}`, async () => {
        database = await create();
        try {
          await body();
        } finally {
          await database[Symbol.asyncDispose]();
        }
      }),
  });
}

/** The tests that django-lockmgr's manual lists, 6 of the functions, 4 of the class and 10 of renewals. */
const PREDECESSOR = `getlock_clean getlock_unlock is_locked lock_expiry lock_no_expiry lock_zero_expiry
  lock_wait lock_wait_timeout lockmgr lockmgr_except
  lockmgr_renew_expired lockmgr_renew_main renew_existing_name renew_existing_name_add_time
  renew_existing_object_add_time renew_lock_object renew_non_existing_name renew_non_existing_name_create
  renew_shorter_expiration renew_shorter_expiration_add_time`.split(/\s+/);

test("every test of django-lockmgr's manual has a case of its name", () => {
  const names: string[] = [];
  const open = () => Promise.reject(new Error("nothing is opened"));
  conformance({ test: (name) => names.push(name), open });
  const cited = new Set(names.flatMap((name) => name.match(/\btest_\w+/g) ?? []));
  assert.deepEqual([...cited].sort(), PREDECESSOR.map((name) => `test_${name}`).sort());
});

test("every backend is registered for the conformance suite", async () => {
  const folders = await readdir(new URL("../../backends/", import.meta.url));
  const shared = ["sessions", "shared"]; // what several engines are made of
  assert.deepEqual(Object.keys(engines).sort(), folders.filter((folder) => !shared.includes(folder)).sort());
});
