import { connect, getLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { test } from "../harness.ts";

const called = () => assert.fail("it was called");

/** What the instances of ORMs have. */
const ORMS: Readonly<Record<string, object>> = {
  Knex: Object.assign(() => called(), { raw: called, queryBuilder: called }),
  Kysely: { executeQuery: called, selectFrom: called, insertInto: called },
  Drizzle: { select: called, insert: called, transaction: called, execute: called },
  Sequelize: { authenticate: called, define: called, query: called, transaction: called },
  TypeORM: { createQueryRunner: called, getRepository: called, query: called },
  Prisma: { $queryRawUnsafe: called, $transaction: called },
  MikroORM: { getMetadata: called, isConnected: called, connect: called },
};

/** What the transactions of ORMs have, and what to pass in their place. */
const TRANSACTIONS: readonly [object, RegExp][] = [
  [
    Object.assign(() => called(), { raw: called, queryBuilder: called, commit: called, rollback: called }),
    /Knex; want await trx\.client\.acquireConnection\(\)$/,
  ],
  [{ executeQuery: called, selectFrom: called }, /Kysely; want \(text, parameters\) => trx\.executeQuery/],
  [{ commit: called, rollback: called, afterCommit: called }, /Sequelize; want transaction\.connection$/],
  [{ select: called, insert: called, transaction: called, rollback: called }, /Drizzle; want tx\.session\.client$/],
  [{ $queryRawUnsafe: called }, /Prisma; want \(text, parameters\) => tx\.\$queryRawUnsafe/],
  [Promise.resolve({}), /a promise; want what it resolves to/],
];

test("an ORM's transaction in the place of its connection is refused by name, with what to pass", async () => {
  await using backend = await connect("sqlite::memory:");
  await using lock = await getLock("a", { backend });
  for (const [transaction, message] of TRANSACTIONS) {
    await assert.rejects(lock.guard(transaction), { name: "TypeError", message });
  }
  assert(lock.held);
});

test("an ORM in the place of a database is refused by name, with what to pass", async () => {
  for (const [name, orm] of Object.entries(ORMS)) {
    const message = new RegExp(`it is an instance of ${name}; want a `);
    for (const open of [postgresBackend, mysqlBackend, sqliteBackend] as ((target: never) => Promise<unknown>)[]) {
      await assert.rejects(open(orm as never), { name: "TypeError", message });
    }
  }
});
