/**
 * A payment that must not be made twice, however many workers get the order, and whenever they die.
 *
 *     deno run -A examples/payment.ts shop.db 7
 *
 * A lock alone cannot prevent that: a worker may be paused between its last look at the lock and its request. Three
 * things together do:
 *
 * 1. The lock keeps workers from trying at the same time.
 * 2. The idempotency key belongs to the *order* and is the same at every try, so the provider answers a repeated request
 *    with the payment that it has already made.
 * 3. The provider's answer is stored in a transaction that `guard` lets commit only under the lock.
 *
 * @module
 */
import { connect, withLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";

const [path = "shop.db", order = "7"] = process.argv.slice(2);
await using backend = await connect(`sqlite:${path}`);
using database = new DatabaseSync(path, { timeout: 5_000 });
database.exec(`
  CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, payment TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS provider (key TEXT PRIMARY KEY, payment TEXT NOT NULL)`);

await withLock(`payment:${order}`, { backend, expires: 30, wait: 60 }, async (lock) => {
  const paid = database.prepare("SELECT payment FROM payments WHERE order_id = ?").get(order);
  if (paid) return console.log(`order ${order} is paid already by ${paid.payment}`);
  const payment = await charge(`order-${order}`, lock.signal);
  database.exec("BEGIN IMMEDIATE");
  try {
    database.prepare("INSERT INTO payments VALUES (?, ?)").run(order, payment);
    await lock.guard(database);
    database.exec("COMMIT");
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
  console.log(`order ${order} is paid by ${payment}`);
});

/** Simulates the provider: the same key gives the same payment. */
// deno-lint-ignore require-await -- a real provider is called over the network
async function charge(key: string, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted(); // really: fetch(url, { headers: { "Idempotency-Key": key }, signal })
  database.prepare("INSERT OR IGNORE INTO provider VALUES (?, ?)").run(key, crypto.randomUUID());
  return String(database.prepare("SELECT payment FROM provider WHERE key = ?").get(key)!.payment);
}
