import { type Backend, BackendError, connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { flavors, placeOn } from "../mysql/flavors.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, server, until } from "../postgres/server.ts";

/** What servers answer while they start, end or hand over, by the code in their manuals. */
const POSTGRES: readonly (readonly [code: string, message: string])[] = [
  ["08006", "connection failure"],
  ["25006", "cannot execute UPDATE in a read-only transaction"],
  ["25P03", "terminating connection due to idle-in-transaction timeout"],
  ["25P04", "terminating connection due to transaction timeout"],
  ["53300", "sorry, too many clients already"],
  ["57014", "canceling statement due to user request"],
  ["57P01", "terminating connection due to administrator command"],
  ["57P02", "terminating connection because of crash of another server process"],
  ["57P03", "the database system is starting up"],
  ["57P03", "the database system is shutting down"],
  ["57P03", "the database system is in recovery mode"],
  ["57P05", "terminating connection due to idle-session timeout"],
];
const MYSQL: readonly (readonly [code: number, message: string])[] = [
  [1036, "Table 'locks' is read only"],
  [1040, "Too many connections"],
  [1047, "WSREP has not yet prepared node for application use"],
  [1047, "Node is not connected to primary component"],
  [1053, "Server shutdown in progress"],
  [1105, "The MySQL server is running with the --read-only option"],
  [1152, "Aborted connection 1 to db"],
  [1180, "Got error 6 during COMMIT"],
  [1290, "The MySQL server is running with the --read-only option so it cannot execute this statement"],
  [1317, "Query execution was interrupted"],
  [1792, "Cannot execute statement in a READ ONLY transaction"],
  [1836, "Running in read-only mode"],
  [1874, "InnoDB is in read only mode"],
  [1927, "Connection was killed"],
  [2003, "Can't connect to remote MySQL server for client connected to '0.0.0.0:6446'"], // MySQL Router
  [2013, "Lost connection to MySQL server during query"], // ProxySQL
  [3032, "The server is currently in offline mode"],
  [3100, "Error on observer while running replication hook 'before_commit'"],
  [3101, "Plugin instructed the server to rollback the current transaction"],
  [4031, "The client was disconnected by the server because of inactivity"],
  [9001, "Max connect timeout reached while reaching hostgroup 0 after 10000ms"], // ProxySQL
];

/** A server that refuses to write, as long as it is told to, with an error of its own. */
interface Refusing {
  readonly backend: Backend;
  /** The lock. */
  readonly name: string;
  refuse(): Promise<unknown>;
  relent(): Promise<unknown>;
}

/** Counts the attempts that fail. */
function countFailures(backend: Backend): { count: number } {
  const failures = { count: 0 };
  const acquire = backend.acquire.bind(backend);
  backend.acquire = (requests, options) =>
    acquire(requests, options).catch((error) => {
      failures.count++;
      throw error;
    });
  return failures;
}

/** A caller who waits gets the lock once the server writes again; one who does not is told that it may try again. */
async function livesThrough(what: string, { backend, name, refuse, relent }: Refusing): Promise<void> {
  await (await getLock(name, { backend })).unlock();
  await refuse();
  await assert.rejects(tryLock(name, { backend }), (error) => {
    assert(error instanceof BackendError, `${what}: ${error}`);
    assert.equal(error.retryable, true, `${what}: ${error.message}`);
    return true;
  });
  const failures = countFailures(backend);
  const waiting = later(getLock(name, { backend, wait: 30 }));
  const refused = until(`${what}: the waiter is refused`, () => failures.count > 2, 20);
  await Promise.race([refused, waiting.then(() => assert.fail(`${what}: granted`))]);
  await relent();
  await (await waiting).unlock();
}

test("postgres: a waiter lives through every state that passes", async () => {
  await using sql = administrator();
  await Promise.all(POSTGRES.map(async ([code, message]) => {
    const table = freshTable();
    await using backend = await connect(server.url, { table });
    await sql.unsafe(`CREATE FUNCTION ${table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION USING ERRCODE = '${code}', MESSAGE = '${message}';
      END $$`);
    await livesThrough(`${code} ${message}`, {
      backend,
      name: "a",
      refuse: () =>
        sql.unsafe(`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ${table}
        FOR EACH ROW EXECUTE FUNCTION ${table}_refuse()`),
      relent: () => sql.unsafe(`DROP TRIGGER refuse ON ${table}`),
    });
  }));
});

test("postgres: a waiter lives through a server that shuts down, and comes back in recovery", async () => {
  await using server = await PostgresServer.start();
  await using proxy = await Proxy.start(server.port);
  const table = freshTable();
  const url = `postgres://postgres@127.0.0.1:${proxy.port}/postgres`;
  await using backend = await connect(url, { table });
  await using holder = await connect(url, { table });
  const lock = await getLock("a", { backend: holder, expires: 600 });
  const waiting = later(getLock("a", { backend, wait: 60 }));
  const answers = (words: string) => until(words, () => server.log.includes(`FATAL:  ${words}`), 30);
  await using staying = administrator(server.url); // a smart shutdown waits for it, and lets no other in
  await staying.unsafe("SELECT 1");
  process.kill(server.pid, "SIGTERM");
  proxy.cut();
  await answers("the database system is shutting down");
  await staying.end({ timeout: 1 });
  await until("the server is down", () => !existsSync(join(server.dataDirectory, "postmaster.pid")));
  appendFileSync(join(server.dataDirectory, "postgresql.conf"), "hot_standby = off\n");
  writeFileSync(join(server.dataDirectory, "standby.signal"), "");
  await server.start();
  await answers("the database system is not accepting connections");
  await server.promote();
  await until("the server writes", () => lock.unlock().catch(() => false), 30);
  const next = await waiting;
  assert(next.token > lock.token);
  assert.equal(await next.unlock(), true);
});

for (const flavor of flavors) {
  test(`${flavor.name}: a waiter lives through every state that passes`, async () => {
    await using place = await placeOn(flavor.shared, flavor);
    const first = await place.backend({ table: "locks" });
    await (await getLock("first", { backend: first })).unlock();
    const trigger = (event: string) => `
      CREATE TRIGGER refuse_${event} BEFORE ${event} ON locks FOR EACH ROW BEGIN
        DECLARE number INT;
        DECLARE words VARCHAR(128);
        SELECT code, message INTO number, words FROM refusals WHERE name = NEW.name;
        IF number IS NOT NULL THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = number, MESSAGE_TEXT = words; END IF;
      END`;
    await place.ask(
      "CREATE TABLE refusals (name VARBINARY(255) PRIMARY KEY, code INT, message VARCHAR(128))",
      trigger("INSERT"),
      trigger("UPDATE"),
    );
    await Promise.all(MYSQL.map(async ([code, message], index) => {
      const name = `name ${index}`;
      await livesThrough(`${code} ${message}`, {
        backend: await place.backend({ table: "locks" }),
        name,
        refuse: () => place.ask(`INSERT INTO refusals VALUES ('${name}', ${code}, "${message}")`),
        relent: () => place.ask(`DELETE FROM refusals WHERE name = '${name}'`),
      });
    }));
  });
}
