import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as dial, createServer } from "node:net";
import { inspect } from "node:util";
import { onEach, onOwn } from "./flavors.ts";

const MODES = ["lease", "session", "hybrid"] as const;

/** What ORMs and other clients print behind a URL, which a server without TLS must take. */
const PRINTED = [
  "ssl=false",
  "useSSL=false&allowPublicKeyRetrieval=true&serverTimezone=UTC",
  "sslmode=disabled",
  "sslmode=preferred",
  "ssl-mode=DISABLED",
  "ssl_mode=PREFERRED",
  "tls=false&parseTime=true&loc=Local&collation=utf8mb4_unicode_ci",
  "charset=utf8mb4&timezone=%2B00:00",
  "charset=utf8mb4&timezone=+00:00",
  "connectTimeout=5000&socketTimeout=5000",
  "connect_timeout=5&connection_limit=5&pool_timeout=10&socket_timeout=5&statement_cache_size=0",
  "useUnicode=true&characterEncoding=UTF-8&zeroDateTimeBehavior=CONVERT_TO_NULL&rewriteBatchedStatements=true",
  "connectionLimit=10&waitForConnections=true&queueLimit=0&multipleStatements=true&dateStrings=true",
];

onEach("targets: parameters of ORMs and other clients are accepted", async ({ url }) => {
  await using first = await connect(url);
  await getLock("a", { backend: first });
  for (const parameters of PRINTED) {
    for (const mode of MODES) {
      await using backend = await connect(`${url}?${parameters}`, { mode });
      if (mode !== "session") assert.equal(await tryLock("a", { backend }), undefined, parameters);
      else assert((await getLock(parameters.slice(0, 60), { backend, expires: undefined })).held);
    }
  }
});

onOwn("targets: a server without TLS is refused where the URL requires TLS", [
  "--loose-ssl=OFF",
  "--loose-skip-ssl",
  "--loose-tls-version=",
], async ({ url }) => {
  await (await connect(`${url}?sslmode=preferred`))[Symbol.asyncDispose]();
  for (const parameters of ["sslmode=require", "ssl=true", "useSSL=true", "sslaccept=strict", "ssl-mode=VERIFY_CA"]) {
    for (const mode of MODES) {
      await assert.rejects(connect(`${url}?${parameters}`, { mode }), (error: Error) => {
        assert.equal(error.name, "BackendError", String(error));
        assert.match(error.message, /the server does not support TLS/);
        return true;
      });
    }
  }
});

onEach("targets: an IPv6 address, in brackets", async (place) => {
  const { port } = new URL(place.url);
  const proxy = createServer((client) => {
    const server = dial(Number(port), "127.0.0.1");
    for (const [from, to] of [[client, server], [server, client]]) from.pipe(to).on("error", () => from.destroy());
  }).listen(0, "::1");
  await once(proxy, "listening");
  {
    const address = `[::1]:${(proxy.address() as { port: number }).port}`;
    for (const mode of MODES) {
      await using backend = await connect(place.url.replace(`127.0.0.1:${port}`, address), { mode });
      assert.equal(await (await getLock("a", { backend })).unlock(), true);
    }
  }
  proxy.close();
  await once(proxy, "close");
});

onEach("targets: an error does not contain the server's message about the user", async ({ url, name }) => {
  const secret = "zqSECRETqz";
  const { port } = new URL(url);
  const wrong = [
    `mysql://${secret}:x@127.0.0.1:${port}/${name}`,
    `mysql://tester:${secret}@127.0.0.1:${port}/${name}`,
    `${url}?user=${secret}`,
    `${url}?password=${secret}`,
    `${url}?charset=${secret}`,
    `${url}?socketPath=/tmp/${secret}`,
    `mysql://127.0.0.1:${port}/${name}?user=${secret}`,
  ];
  for (const target of wrong) {
    for (const mode of MODES) {
      await assert.rejects(connect(target, { mode }), (error: Error) => {
        assert(!inspect(error, { depth: 9, showHidden: true }).includes(secret), inspect(error));
        return true;
      });
    }
  }
  await assert.rejects(connect(url.replace(name, "missing")), /[Uu]nknown database 'missing'/);
});

onEach("targets: an unknown parameter is refused before anything is sent", async () => {
  let connections = 0;
  const listener = createServer((socket) => (connections++, socket.destroy())).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as { port: number };
  for (
    const wrong of ["sslmod=require", "compress=true", "connect_timeout=soon", "charset=a b", "sessionVariables=a"]
  ) {
    await assert.rejects(connect(`mysql://u:p@127.0.0.1:${port}/d?${encodeURI(wrong)}`), TypeError, wrong);
  }
  listener.close();
  await once(listener, "close");
  assert.equal(connections, 0);
});
