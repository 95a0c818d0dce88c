import { type Backend, connect, type ConnectOptions, getLock, type LockLost } from "@lockmgr/lockmgr";
import { postgresBackend, type PostgresOptions } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect as dial, createServer, type Server, type Socket } from "node:net";
import pg from "pg";
import { aborted } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { flavors } from "../mysql/flavors.ts";
import { freshTable, server } from "../postgres/server.ts";
import { ask } from "../servers/mysql_database.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { postgresUrl } from "./promotions.ts";

/** How a server that needs no password lets a client in. */
interface Protocol {
  /** Whether the server speaks first. */
  readonly greets: boolean;
  /** Whether a client asks for TLS, and is to be told that there is none. */
  asksForTls(chunk: Uint8Array): boolean;
  /** Whether the server's answer to the client's first message has come to its end. */
  isIn(answer: Uint8Array): boolean;
}

const POSTGRES: Protocol = {
  greets: false,
  asksForTls: (chunk) => chunk.length === 8,
  isIn: (answer) => answer.at(-6) === "Z".charCodeAt(0), // ReadyForQuery
};
const MYSQL: Protocol = { greets: true, asksForTls: () => false, isIn: (answer) => answer[4] === 0 }; // OK

/** A proxy that keeps its clients' connections while it goes on with other connections to a server. */
class SwitchingProxy implements AsyncDisposable {
  readonly #listener: Server = createServer();
  readonly #clients = new Map<Socket, { first?: Uint8Array; server: Socket }>();

  private constructor(private readonly protocol: Protocol, port: number) {
    this.#listener.on("connection", (client) => {
      const state: { first?: Uint8Array; server: Socket } = { server: dial(port, "127.0.0.1") };
      this.#clients.set(client, state);
      client.on("error", () => {}).on("close", () => state.server.destroy());
      client.on("data", (chunk: Uint8Array) => {
        if (state.first === undefined) {
          if (protocol.asksForTls(chunk)) return client.write("N");
          state.first = chunk;
        }
        state.server.write(chunk);
      });
      this.#pass(client, state.server);
    });
  }

  #pass(client: Socket, server: Socket): void {
    server.on("error", () => {}).on("data", (chunk) => client.write(chunk));
    server.on("close", () => this.#clients.get(client)?.server === server && client.destroy());
  }

  static async start(protocol: Protocol, port: number): Promise<SwitchingProxy> {
    const proxy = new SwitchingProxy(protocol, port);
    proxy.#listener.listen(0, "127.0.0.1");
    await once(proxy.#listener, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** Resolves with the next answer to any client. */
  nextAnswer(): Promise<unknown> {
    return Promise.race([...this.#clients.values()].map(({ server }) => once(server, "data")));
  }

  /** Goes on with the server at a port. */
  async switchTo(port: number): Promise<void> {
    await Promise.all(
      [...this.#clients].filter(([client]) => !client.destroyed).map(async ([client, state]) => {
        const server = dial(port, "127.0.0.1");
        if (this.protocol.greets) await once(server, "data");
        server.write(state.first!);
        for (;;) if (this.protocol.isIn((await once(server, "data"))[0])) break;
        const before = state.server;
        state.server = server;
        this.#pass(client, server);
        before.destroy();
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients.keys()) client.destroy();
    this.#listener.close();
    await once(this.#listener, "close");
  }
}

/** Where a holder is, and where its connections go on. */
interface Switch {
  readonly protocol: Protocol;
  urlOf(port: number): string;
  readonly from: number;
  readonly to: number;
  open(url: string, options: ConnectOptions): Promise<Backend>;
}

/** A holder whose connection goes on with another one is told with its next heartbeat. */
async function isTold(mode: "session" | "hybrid", { protocol, urlOf, from, to, open }: Switch): Promise<void> {
  await using proxy = await SwitchingProxy.start(protocol, from);
  const options = { mode, table: freshTable(), sessionTimeout: 6 };
  await using backend = await open(urlOf(proxy.port), options);
  await using _other = await connect(urlOf(to), options); // which makes the table
  const lock = await getLock("a", { backend });
  const told = aborted(lock.signal);
  await proxy.nextAnswer(); // of a heartbeat, which is a prepared statement from then on
  await proxy.switchTo(to);
  const { cause } = await told as LockLost; // node-postgres uses its statement, which does not exist there
  assert.match(String(cause), /another server answers|prepared statement .* does not exist/, mode);
}

/** All of them in both modes, at the same time. */
async function areTold(switches: readonly Switch[]): Promise<void> {
  await Promise.all(switches.flatMap((each) => [isTold("session", each), isTold("hybrid", each)]));
}

test("postgres: a session ends when a proxy goes on with another connection or server", async () => {
  await using second = await PostgresServer.start();
  const pools: pg.Pool[] = [];
  const openPool = async (connectionString: string, options: ConnectOptions) => {
    const pool = new pg.Pool({ connectionString });
    pool.on("error", () => {}); // the proxy ends what is idle in the pool
    pools.push(pool);
    return await postgresBackend(pool, options as PostgresOptions);
  };
  const all = { protocol: POSTGRES, urlOf: postgresUrl, from: server.port };
  await areTold([
    { ...all, to: server.port, open: connect },
    { ...all, to: second.port, open: connect },
    { ...all, to: server.port, open: openPool },
  ]);
  for (const pool of pools) await pool.end();
});

test("mysql, mariadb: a session ends when a proxy goes on with another connection", async () => {
  const urlOf = (port: number) => `mysql://trusted@127.0.0.1:${port}/test?ssl-mode=DISABLED`;
  const servers = flavors.map(({ shared }) => shared);
  for (const { url } of servers) {
    await ask(url, "CREATE USER trusted", "GRANT ALL PRIVILEGES ON *.* TO trusted"); // without a password
  }
  await areTold(servers.map(({ port }) => ({ protocol: MYSQL, urlOf, from: port, to: port, open: connect })));
  for (const { url } of servers) await ask(url, "DROP USER trusted");
});
