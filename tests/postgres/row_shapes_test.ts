/**
 * Rows as callers' wrappers and drivers answer them.
 *
 * @module
 */
import { getLock, isLocked, listLocks, setLock, tryLock } from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend, type PostgresExecutor } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { test } from "../harness.ts";
import { freshTable, server } from "./server.ts";

/** What node-postgres answers. */
interface Result {
  readonly rows: Record<string, unknown>[];
  readonly rowCount: number;
}

/** What a wrapper makes of that. */
type Shape = (answer: Result) => unknown;

/** Runs a body with a backend through a function whose answers have a shape. */
async function withShape(
  shape: Shape,
  body: (open: () => ReturnType<typeof postgresBackend>) => Promise<void>,
  options: { rowMode?: "array" } = {},
): Promise<void> {
  const pool = new pg.Pool({ connectionString: server.url, max: 2 });
  const execute = async (text: string, values: unknown[]) => {
    return shape(await pool.query({ text, values, ...options }));
  };
  const table = freshTable();
  try {
    await body(() => postgresBackend(execute as PostgresExecutor, { table }));
  } finally {
    await pool.end();
  }
}

/** Uses each kind of answer once. */
async function everyAnswer(open: () => ReturnType<typeof postgresBackend>): Promise<void> {
  await using backend = await open();
  const lock = await getLock("a", { backend, expires: null, metadata: { a: 1 } });
  assert.equal(await tryLock("a", { backend }), undefined);
  const [{ token, metadata, lockedUntil, lockProcess }] = await listLocks({ backend });
  assert.deepEqual([token, metadata, lockedUntil, lockProcess], [lock.token, { a: 1 }, null, null]);
  await lock.renew();
  assert.equal((await setLock(["a", "b", "c"], { backend })).counts.created, 2);
  assert.equal(await lock.unlock(), true);
  assert.equal(await isLocked("a", { backend }), false);
  assert.equal(await (await getLock("kept", { backend, holdAtLeast: 60 })).unlock(), true);
  const tries = await Promise.all(["kept", "b", "d"].map((name) => tryLock(name, { backend })));
  assert.deepEqual(tries.map((each) => each?.name), [undefined, undefined, "d"]);
  assert.equal(await tryLock("kept", { backend }), undefined);
  assert.equal((await listLocks({ backend, names: ["kept"] }))[0].lockedBy, ""); // none holds it
  const waiting = getLock("d", { backend, wait: 30 });
  assert.equal(await tries[2]!.unlock(), true);
  assert.equal(await (await waiting).unlock(), true);
}

const capital = (name: string) => name[0].toUpperCase() + name.slice(1);
const renamed = (row: Record<string, unknown>, rename: (name: string) => string) =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [rename(name), value]));

/** A wrapper that changes values. */
const valued = (change: (value: unknown) => unknown): Shape => ({ rows }) =>
  rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value)])));

const MAPPED: Record<string, Shape> = {
  "rows": ({ rows }) => rows,
  "the driver's result": (result) => result,
  "rows and a count": ({ rows, rowCount }) => [rows, rowCount],
  "rows and the driver's result": (result) => [result.rows, result],
  "names in PascalCase": ({ rows }) => rows.map((row) => renamed(row, capital)),
  "names in capitals": ({ rows }) => rows.map((row) => renamed(row, (name) => name.toUpperCase())),
  "undefined in place of null": valued((value) => value ?? undefined),
  "null in place of an empty text": valued((value) => value === "" ? null : value),
  "an empty text in place of null": valued((value) => value ?? ""),
};

for (const [name, shape] of Object.entries(MAPPED)) {
  test(`a function may answer ${name}`, () => withShape(shape, everyAnswer));
}

const REFUSED: Record<string, [Shape, RegExp]> = {
  "rows as arrays": [({ rows }) => rows.map((row) => Object.values(row)), /a row is an array.*objects by column name/],
  "nothing": [() => undefined, /it is undefined.*array of rows/],
  "a count": [({ rowCount }) => rowCount, /it is a number|it is number/],
  "text": [() => ["a", "b"], /a row is string/],
};

for (const [name, [shape, message]] of Object.entries(REFUSED)) {
  test(`a function that answers ${name} is refused at the first statement`, async () => {
    await withShape(shape, async (open) => {
      await assert.rejects(open(), { name: "TypeError", message });
    });
  });
}

test('rowMode "array" is refused at the first statement', async () => {
  await withShape(({ rows }) => rows, async (open) => {
    await assert.rejects(open(), { name: "TypeError", message: /rowMode "array"/ });
  }, { rowMode: "array" });
});

/** Makes a "sql" that transforms names or values. */
function transforming(transform: object): postgres.Sql {
  return postgres(server.url, { max_lifetime: null, max: 2, onnotice: () => {}, transform: transform as never });
}

for (
  const [name, transform] of Object.entries({
    camel: postgres.camel,
    pascal: postgres.pascal,
    kebab: postgres.kebab,
    "undefined for null": { undefined: null, value: { from: (value: unknown) => value ?? undefined } },
    "null for an empty text": { value: { from: (value: unknown) => value === "" ? null : value } },
    "capitals": { column: { from: (name: string) => name.toUpperCase() } },
  })
) {
  test(`lease: a "sql" of postgres.js with transform ${name}`, async () => {
    const sql = transforming(transform);
    const table = freshTable();
    await everyAnswer(() => postgresBackend(sql, { table }));
    await sql.end();
  });

  test(`advisoryLock: in a transaction of postgres.js with transform ${name}, free and waited for`, async () => {
    const sql = transforming(transform);
    const free = await sql.begin((tx) => advisoryLock(tx, name, { wait: false }));
    assert(free.acquired);
    const held = await advisoryLock(sql, name);
    await sql.begin(async (tx) => {
      await assert.rejects(advisoryLock(tx, name, { timeout: 0.01 }), { name: "LockTimeout" });
      const [waited] = await Promise.all([advisoryLock(tx, name), held.release()]);
      assert(waited.acquired);
      const [[limit]] = await tx`SELECT current_setting('lock_timeout')`.values();
      assert.equal(limit, "0");
    });
    await sql.end();
  });
}

test("advisoryLock: a transaction that loses every value is refused", async () => {
  const sql = transforming({ value: { from: () => undefined } });
  await assert.rejects(sql.begin((tx) => advisoryLock(tx, "lost")), { name: "TypeError", message: /keeps values/ });
  await sql.end();
});

test("guard takes a function whose answers are pairs of rows and a count", async () => {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await using backend = await postgresBackend(server.url, { table: freshTable() });
  const lock = await getLock("a", { backend });
  const query = (text: string, values: unknown[]) =>
    client.query(text, values).then(({ rows, rowCount }: Result) => [rows, rowCount]);
  await client.query("BEGIN");
  await lock.guard(query);
  await client.query("ROLLBACK");
  await backend.release([{ name: "a", owner: null }]);
  await client.query("BEGIN");
  await assert.rejects(lock.guard(query), { name: "LockLost" });
  await client.end();
});
