import { flavors } from "../mysql/flavors.ts";
import { test } from "../harness.ts";
import { FAILURES } from "./failures.ts";
import { MysqlPair } from "./mysql_pair.ts";
import { takeOver } from "./takeover.ts";

const urlOf = (port: number) => `mysql://tester:secret-word@127.0.0.1:${port}/test`;

for (const flavor of flavors) {
  // a MySQL takes longer to start: what hangs or is split is the same in the promotions under work
  const failures = flavor.name === "mysql" ? FAILURES.slice(0, 1) : FAILURES;
  test(`${flavor.name}: hybrid: a holder is told before the next grant when a replica is promoted`, async () => {
    await Promise.all(failures.map(async (failure) => {
      await using pair = await MysqlPair.start(flavor);
      await takeOver({
        urlOf,
        port: pair.primary.port,
        table: "locks",
        stranded: failure === "crash",
        fail: () => pair.promote(failure),
        to: pair.replica.port,
      });
    }));
  });

  test(`${flavor.name}: hybrid: a holder that hears nothing of a restart is told before the next grant`, async () => {
    await using server = await flavor.start();
    const { port } = server;
    const fail = async () => {
      await server.kill();
      await server.start();
    };
    await takeOver({ urlOf, port, table: "locks", stranded: true, fail, to: port });
  });
}
