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

test("an ORM in the place of a database is refused by name, with what to pass", async () => {
  for (const [name, orm] of Object.entries(ORMS)) {
    const message = new RegExp(`it is an instance of ${name}; want a `);
    for (const open of [postgresBackend, mysqlBackend, sqliteBackend] as ((target: never) => Promise<unknown>)[]) {
      await assert.rejects(open(orm as never), { name: "TypeError", message });
    }
  }
});
