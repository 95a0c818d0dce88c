// deno-lint-ignore-file no-explicit-any -- what plain JavaScript may pass
import {
  BackendError,
  cleanLocks,
  connect,
  getLock,
  listLocks,
  printEvents,
  registerEngine,
  schemaOf,
  setLock,
  watchLocks,
} from "@lockmgr/lockmgr";
import { conformance, faultyBackend } from "@lockmgr/lockmgr/conformance";
import { mysqlBackend, TableLock, UserLock } from "@lockmgr/lockmgr/mysql";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import { lockManager } from "@lockmgr/lockmgr/web-locks";
import assert from "node:assert/strict";
import { test } from "../harness.ts";

/** Addresses at which nothing listens: a call that opened a connection would be a `BackendError`. */
const POSTGRES = "postgres://app@127.0.0.1:1/app";
const MYSQL = "mysql://app@127.0.0.1:1/app";

test("options: an engine refuses misspelt options with the nearest known one, before any I/O", async () => {
  const calls: [call: (options: any) => unknown, wrong: object, nearest: string][] = [
    [(options) => connect("sqlite:/no/such/file", options), { tabel: "x" }, "table"],
    [(options) => connect("sqlite:/no/such/file", options), { busy_timeout: 1 }, "busyTimeout"],
    [(options) => sqliteBackend("/no/such/file", options), { driver: undefined, modes: "lease" }, "mode"],
    [(options) => connect(POSTGRES, options), { max: 5 }, "maxConnections"],
    [(options) => connect(POSTGRES, options), { ssl: true, migrate: false }, "driver"],
    [(options) => postgresBackend(POSTGRES, options), { sesionTimeout: 5 }, "sessionTimeout"],
    [(options) => postgresBackend(() => Promise.resolve([]), options), { tables: "x" }, "table"],
    [(options) => connect(MYSQL, options), { connections: 5 }, "maxConnections"],
    [(options) => mysqlBackend(MYSQL, options), { answer_timeout: 5 }, "answerTimeout"],
    [(options) => schemaOf("sqlite::memory:", options), { tabel: "x" }, "table"],
    [(options) => advisoryLock({} as any, "a", options), { share: true }, "shared"],
    [(options) => advisoryLock({} as any, "a", options), { waitFor: 5 }, "wait"],
    [(options) => new UserLock("a", options), { timeout: 5 }, "acquireTimeout"],
    [(options) => UserLock.heldWithPrefix("a", options), { back: 5 }, "backend"],
    [(options) => new TableLock(options), { reads: ["a"] }, "read"],
    [(options) => lockManager({ acquire() {} } as any, options), { expire: 5 }, "expires"],
  ];
  for (const [call, wrong, nearest] of calls) {
    await assert.rejects(async () => await call(wrong), (error: Error) => {
      assert.match(error.message, new RegExp(`^Cannot use option "\\w+" o[fn] \\w+: want "${nearest}"`), String(call));
      return error instanceof TypeError;
    });
  }
});

const open = () => sqliteBackend(":memory:");

test("options: what is no object is refused, and not shown", async () => {
  const calls: [call: (options: any) => unknown, says: RegExp][] = [
    [(secret) => connect("sqlite:/no/such/file", secret), /this string as the options of connect: .* with "mode"/],
    [() => connect("sqlite:/no/such/file", 5 as any), /this number as the options of connect: want an object with/],
    [(secret) => sqliteBackend("/no/such/file", secret), /this string as the options on SQLite/],
    [(secret) => postgresBackend(POSTGRES, secret), /this string as the options on PostgreSQL/],
    [() => mysqlBackend(MYSQL, null as any), /this null as the options on MySQL/],
    [(secret) => schemaOf("sqlite::memory:", secret), /of schemaOf: want an object with "table"$/],
    [() => advisoryLock({} as any, "a", true as any), /with "shared", or another of timeout, signal, wait/],
    [() => advisoryLock({} as any, "a", 5 as any), /with "timeout"/],
    [() => new UserLock("a", 2 as any), /with "acquireTimeout"/],
    [() => new UserLock("\ud800", { acquireTimeout: 2 } as any), /^Cannot use this as a name: .* lone surrogates$/],
    [() => UserLock.heldWithPrefix("a", "b" as any), /with "backend"/],
    [() => advisoryLock({} as any, "a", { wait: 5 } as any), /^Cannot use wait of type number: want a boolean$/],
    [() => connect(POSTGRES, { migrate: "no" } as any), /^Cannot use migrate of type string: want a boolean$/],
    [(secret) => lockManager(secret), /of type string as the backend/],
    [() => registerEngine("fourth:", (() => {}) as any), /want an object with a function "open"$/],
    [(secret) => printEvents(secret), /^Cannot write to a value of type string: want a function$/],
    [() => conformance(undefined as any), /want an object with test, open, supports/],
    [() => conformance({ test: () => {} } as any), /want `test` and `open`$/],
    [(open) => conformance({ test: () => {}, open } as any), /type function as open/],
    [() => conformance({ test: () => {}, open, suports: {} } as any), /want test, open, supports, not "suports"$/],
    [
      () => conformance({ test: () => {}, open, supports: { modes: 1 } as any }),
      /want mode, expiredRows, .*not "modes"$/,
    ],
    [() => conformance({ test: () => {}, open, supports: null as any }), /type object as supports/],
    [() => faultyBackend({} as any, () => undefined), /want what "await connect\(…\)" returns$/],
    [() => faultyBackend({ acquire() {} } as any, { refuse: true } as any), /want a function as script$/],
    [() => new TableLock(["a"] as any), /with "acquireTimeout", or another of read, write, backend/],
    [() => getLock("a", new Date() as any), /this date as the options of getLock/],
    [() => setLock("a", Promise.resolve({ expires: 5 }) as any), /this promise as the options of setLock/],
    [() => cleanLocks(new Map() as any), /this map as the options of cleanLocks/],
    [() => mysqlBackend(MYSQL, new Set() as any), /this set as the options on MySQL/],
    [() => listLocks({ prefix: "a\0" }), /^Cannot use prefix "a\\u0000": it contains NUL$/],
    [() => watchLocks({ prefix: "\ud800" })[Symbol.asyncIterator]().next(), /lone surrogate$/],
  ];
  for (const [call, says] of calls) {
    await assert.rejects(async () => await call("secret-word"), (error: Error) => {
      assert.match(error.message, says, String(call));
      return error instanceof TypeError && !error.message.includes("secret-word");
    });
  }
});

test("options: a number of connections that is not whole is refused", async () => {
  for (const target of [POSTGRES, MYSQL]) {
    const message = /^Cannot use maxConnections 1.5: want a whole number/;
    await assert.rejects(connect(target, { maxConnections: 1.5 }), { name: "RangeError", message });
  }
});

test("options: a misspelt parameter of a URL is refused with the nearest known one", async () => {
  const wrong: [target: string, nearest: string][] = [
    ["sqlite:/no/such/file?drivr=secret-word", "driver"],
    ["sqlite:/no/such/file?lockmgr_tabel=secret-word", "lockmgr_table"],
    [`${POSTGRES}?sslmod=secret-word`, "sslmode"],
    [`${POSTGRES}?lock_mgr_mode=secret-word`, "lockmgr_mode"],
    [`${MYSQL}?lockmgr_migrat=secret-word`, "lockmgr_migrate"],
    [`${MYSQL}?connect_timout=secret-word`, "connecttimeout"],
  ];
  for (const [target, nearest] of wrong) {
    await assert.rejects(connect(target), ({ name, message }: Error) => {
      assert.match(message, new RegExp(`^Cannot use URL parameter "\\w+".*: .*want "${nearest}"`));
      return name === "TypeError" && !message.includes("secret-word");
    });
  }
});

test("options: a URL may have an engine's numbers, which are checked as the options are", async () => {
  const wrong: [target: string, says: RegExp][] = [
    [`${POSTGRES}?lockmgr_maxConnections=0`, /Cannot use maxConnections 0: /],
    [`${POSTGRES}?lockmgr_sessionTimeout=0.1`, /Cannot use sessionTimeout 0.1: /],
    [`${MYSQL}?lockmgr_answerTimeout=0`, /Cannot use answerTimeout 0: /],
    [
      `${MYSQL}?lockmgr_maxConnections=secret-word`,
      /Cannot use URL parameter "lockmgr_maxConnections": want a number$/,
    ],
    [`${MYSQL}?lockmgr_max_connections=5`, /want "lockmgr_maxConnections"/],
    ["sqlite::memory:?lockmgr_busyTimeout=1e9", /want a number$/],
    ["sqlite::memory:?lockmgr_maxConnections=5", /Cannot use URL parameter "lockmgr_maxConnections": want "/],
  ];
  for (const [target, says] of wrong) await assert.rejects(connect(target), says);
  await using _backend = await connect("sqlite::memory:?lockmgr_busyTimeout=1.5");
  await assert.rejects(connect(`${POSTGRES}?lockmgr_maxConnections=5&lockmgr_answerTimeout=2`), BackendError);
  await assert.rejects(connect(`${MYSQL}?lockmgr_sessionTimeout=30`, { sessionTimeout: 0 }), /sessionTimeout 0:/);
});

test("options: those of a driver and of a third party's engine are not refused", async () => {
  const driver = { connect_timeout: 5, an_option_of_a_later_version: true };
  await assert.rejects(connect(POSTGRES, { driver }), BackendError);
  await assert.rejects(connect(MYSQL, { ssl: { an_option_of_a_later_version: true } }), BackendError);
  let given: unknown;
  registerEngine("third:", { open: (_target, options) => (given = options, sqliteBackend(":memory:")) });
  await using _backend = await connect("third:", { itsOwn: 7 });
  assert.deepEqual(given, { itsOwn: 7 });
});
