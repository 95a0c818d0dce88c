/**
 * Many instances start at once; one of them runs the migrations of Kysely, and the others wait for it.
 *
 *     deno run -A examples/integrations/kysely_migration.ts shop.db
 *
 * Kysely locks its own table on PostgreSQL and MySQL while it migrates, and nothing on SQLite. A lock here works on all of
 * them, covers the steps after the migration too, has a time limit, and shows who migrates (`lockmgr list`).
 *
 * @module
 */
import { connect, withLock } from "@lockmgr/lockmgr";
import { Kysely, sql, SqliteDialect } from "kysely";
import { type MigrationProvider, Migrator } from "kysely/migration";
import Database from "libsql";
import process from "node:process";

const path = process.argv[2] ?? "shop.db";
await using backend = await connect(`sqlite:${path}`); // the program's own database stores the locks
const database = new Database(path, { timeout: 5_000 }); // the lock's renewals write to the file, too
const db = new Kysely<unknown>({ dialect: new SqliteDialect({ database }) });

const provider: MigrationProvider = {
  getMigrations: () =>
    Promise.resolve({
      "1_orders": { up: (db) => db.schema.createTable("orders").addColumn("id", "integer").execute() },
      "2_paid": { up: (db) => db.schema.alterTable("orders").addColumn("paid", "integer").execute() },
    }),
};

await withLock("migrate", { backend, expires: 30, wait: 300 }, async (lock) => {
  const { error, results = [] } = await new Migrator({ db, provider }).migrateToLatest();
  if (error) throw error;
  lock.signal.throwIfAborted();
  if (results.length > 0) { // a slow step that instances without the lock would not wait for
    await new Promise((resolve) => setTimeout(resolve, 300));
    await sql`INSERT INTO orders (id, paid) VALUES (1, 0)`.execute(db);
  }
  const { rows } = await sql`SELECT id FROM orders`.execute(db);
  console.log(`ran ${results.length} migrations, found ${rows.length} orders`);
});
await db.destroy();
