import { connect, getLock, setLock } from "@lockmgr/lockmgr";
import { everyVerb } from "../conformance/settings.ts";
import { test } from "../harness.ts";
import { flavors, until } from "../mysql/flavors.ts";
import { ask } from "../servers/mysql_database.ts";
import { MysqlPair } from "./mysql_pair.ts";
import { mysqlUrl } from "./promotions.ts";

for (const flavor of flavors) {
  test(`${flavor.name}: a replica has the rows of its primary, whatever the binary log is made of`, async () => {
    await using pair = await MysqlPair.start(flavor, false);
    const [primary, replica] = [pair.primary, pair.replica].map(({ port }) => mysqlUrl(port));
    for (const [format, mode] of [["STATEMENT", "lease"], ["MIXED", "lease"], ["MIXED", "hybrid"]] as const) {
      await ask(primary, `SET GLOBAL binlog_format = '${format}'`);
      const table = `${format}_${mode}`;
      await using backend = await connect(primary, { mode, table });
      await using other = await connect(primary, { mode, table });
      await everyVerb(backend, other);
      await setLock(["x", "y"], { backend, expires: 60, metadata: { text: "ü" } });
      await using _held = await getLock("held", { backend, expires: 60, wait: 5 });
      const rows = async (url: string) => JSON.stringify(await ask(url, `SELECT * FROM ${table} ORDER BY name`));
      const written = await rows(primary);
      await until(`the rows of ${table} are the same`, async () => await rows(replica).catch(() => "") === written);
    }
  });
}
