/**
 * What the adapter of postgres.js uses although the driver does not document it: each test fails when the driver changes
 * that.
 *
 * @module
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, Socket } from "node:net";
import postgres from "postgres";
import {
  endInstance,
  type Instance,
  isInstance,
  isQueued,
  isSql,
  isTransaction,
  mayPrepare,
  processIdOf,
  sendStatement,
  sourceOf,
} from "../../backends/postgres/connection/driver.ts";
import { Sockets } from "../../backends/postgres/connection/sockets.ts";
import { test } from "../harness.ts";
import { server, until } from "./server.ts";

/** An instance with one connection. */
function instance(options: postgres.Options<Record<string, never>> = {}): Instance {
  return postgres(server.url, { max: 1, max_lifetime: null, onnotice: () => {}, ...options }) as unknown as Instance;
}

test("options, shared: the parsed options of an instance make another one", async () => {
  const sql = instance({ prepare: false, transform: postgres.pascal });
  assert(!mayPrepare(sql));
  assert("shared" in sql.options);
  const opened = (await sourceOf(sql.options)).open({ max: 1 }, () => {});
  assert.notEqual(opened.sql.options.shared, sql.options.shared);
  opened.sockets.ref();
  const [row] = await sendStatement(opened.sql, "SELECT 1::text AS one_column", [], true);
  assert.deepEqual(row, { one_column: "1" });
  await endInstance(opened, 1);
  await sql.end();
});

test("state, active: a statement and its answer know their connection, and whether they wait behind another", async () => {
  const [sql, holder] = [instance(), instance()];
  await sendStatement(sql, "SELECT 1", [], false);
  await sendStatement(holder, "SELECT pg_advisory_lock(1)::text", [], false);
  const [first, second] = ["1", "2"].map((key) =>
    sendStatement(sql, "SELECT pg_backend_pid()::text AS pid, pg_advisory_lock($1::text::int)::text", [key], false)
  );
  const answers = Promise.all([first, second]);
  await until("both are sent", () => processIdOf(second) !== undefined);
  assert.deepEqual([first, second].map(isQueued), [false, true]);
  await holder.end();
  const [one, other] = await answers;
  assert.equal(processIdOf(first), one[0].pid);
  assert.equal(processIdOf(one), one[0].pid);
  assert.equal(processIdOf(other), one[0].pid);
  await sql.end();
});

test("begin, savepoint: an instance, a transaction and a reserved connection are told apart", async () => {
  const sql = postgres(server.url, { max: 1, max_lifetime: null, onnotice: () => {} });
  const kinds = (value: unknown) => [isSql(value), isInstance(value), isTransaction(value)];
  assert.deepEqual(kinds(sql), [true, true, false]);
  await sql.begin((tx) => assert.deepEqual(kinds(tx), [true, false, true]));
  const reserved = await sql.reserve();
  assert.deepEqual(kinds(reserved), [true, false, false]);
  reserved.release();
  await sql.end();
});

test("socket: the driver connects through the sockets that it is given, and their loss is noticed", async () => {
  let lost = 0;
  const sockets = new Sockets(() => lost++);
  sockets.ref();
  const sql = instance(sockets.option(undefined) as object);
  const [{ pid }] = await sendStatement(sql, "SELECT pg_backend_pid()::text AS pid", [], true);
  const other = instance();
  await sendStatement(other, "SELECT pg_terminate_backend($1::text::integer)::text AS ended", [pid], true);
  await until("the loss is noticed", () => lost === 1);
  await Promise.all([other.end(), sql.end()]);
  await sockets.destroy();
});

test("removeAllListeners: the driver takes listeners of a socket away as TLS begins, and the loss is still noticed", async () => {
  const refusing = createServer((client) => client.once("data", () => client.end("S"))); // TLS, and then nothing
  refusing.listen(0, "127.0.0.1");
  await once(refusing, "listening");
  let lost = 0, removed = 0;
  const sockets = new Sockets(() => lost++);
  sockets.ref();
  const given = ({ host, port }: { host: string[]; port: number[] }) => {
    const socket = new Socket();
    const removeAllListeners = socket.removeAllListeners;
    socket.removeAllListeners = (event?: string | symbol) => (removed++, removeAllListeners.call(socket, event));
    return socket.connect(port[0], host[0]);
  };
  const { port } = refusing.address() as AddressInfo;
  const sql = instance({
    host: "127.0.0.1",
    port,
    ssl: "require",
    connect_timeout: 2,
    ...sockets.option(given) as object,
  });
  await assert.rejects(Promise.resolve(sendStatement(sql, "SELECT 1", [], true)));
  await until("the loss is noticed", () => lost > 0);
  assert(removed > 0);
  await sql.end({ timeout: 0 });
  await sockets.destroy();
  refusing.close();
  await once(refusing, "close");
});
