/**
 * Many instances start at once; one of them migrates the database, and the others wait for it.
 *
 *     deno run -A examples/one_migration.ts shop.db
 *
 * Each instance reads the version *after* it has acquired the lock. `guard` is the last statement before COMMIT: an
 * instance that was paused until another acquired the lock cannot commit.
 *
 * @module
 */
import { connect, withLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";

const path = process.argv[2] ?? "shop.db";
await using backend = await connect(`sqlite:${path}`); // the program's own database stores the locks
using database = new DatabaseSync(path, { timeout: 5_000 });

const MIGRATIONS = [
  "CREATE TABLE orders (id INTEGER PRIMARY KEY, paid INTEGER NOT NULL DEFAULT 0)",
  "ALTER TABLE orders ADD COLUMN amount INTEGER NOT NULL DEFAULT 0",
];

await withLock("migrate", { backend, expires: 30, wait: 300 }, async (lock) => {
  const { user_version } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  if (user_version === MIGRATIONS.length) return console.log(`version ${user_version} is there already`);
  database.exec("BEGIN IMMEDIATE");
  try {
    for (const statement of MIGRATIONS.slice(user_version)) database.exec(statement);
    database.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
    await lock.guard(database);
    database.exec("COMMIT");
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
  console.log(`migrated from version ${user_version} to ${MIGRATIONS.length}`);
});
