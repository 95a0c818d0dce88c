/**
 * A queue whose messages must be handled in order has one consumer at a time; the others stand by.
 *
 *     deno run -A examples/one_consumer.ts shop.db
 *
 * A message and its effect are committed together, under `guard`: a consumer that lost its lock without noticing can
 * handle no message twice or out of order.
 *
 * @module
 */
import { connect, type Lock, withLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";

const path = process.argv[2] ?? "shop.db";
await using backend = await connect(`sqlite:${path}`);
using database = new DatabaseSync(path, { timeout: 5_000 });
database.exec(`
  CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS handled (id INTEGER NOT NULL UNIQUE, body TEXT NOT NULL, consumer INTEGER NOT NULL)`);

await withLock("consumer of messages", { backend, expires: 15, wait: Infinity }, async (lock) => {
  while (!lock.signal.aborted && await handleNext(lock));
  console.log(`${process.pid}: the queue is empty`);
});

/** Handles the oldest message; returns `false` if there is none. */
async function handleNext(lock: Lock): Promise<boolean> {
  database.exec("BEGIN IMMEDIATE");
  try {
    const message = database.prepare("DELETE FROM messages WHERE id = (SELECT min(id) FROM messages) RETURNING *")
      .get();
    if (message !== undefined) {
      database.prepare("INSERT INTO handled VALUES (?, ?, ?)").run(message.id, message.body, process.pid);
      await lock.guard(database);
    }
    database.exec("COMMIT");
    return message !== undefined;
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}
