import { BackendError, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { flavors, placeOn, until } from "./flavors.ts";

/** What makes commits wait for a replica; there is none. */
const WAITING = {
  mysql: { settings: ["--plugin-load-add=semisync_source.so"], variable: "rpl_semi_sync_source" },
  mariadb: { settings: [], variable: "rpl_semi_sync_master" },
};

for (const flavor of flavors) {
  const { settings, variable } = WAITING[flavor.name];
  test(`${flavor.name}: a commit that waits for a replica is granted to its caller or given back`, async () => {
    const all = ["--log-bin", "--server-id=1", "--binlog-format=ROW", ...settings];
    await using server = await flavor.start({ settings: all });
    await using place = await placeOn(server, flavor);
    const backend = await place.backend({ answerTimeout: 3 });
    await tryLock("again", { backend }).then((lock) => lock!.unlock());
    await place.ask(`SET GLOBAL ${variable}_timeout = 100000`, `SET GLOBAL ${variable}_enabled = ON`);
    for (const name of ["again", "first"]) {
      const outcome = await tryLock(name, { backend, expires: null }).catch((error) => error);
      await place.ask(`SET GLOBAL ${variable}_enabled = OFF`); // the replica is back, as far as commits are concerned
      if (outcome instanceof Error) {
        assert(outcome instanceof BackendError && outcome.retryable, String(outcome));
        await until("the name is free", async () => (await backend.list({ names: [name] })).length === 0);
        await tryLock(name, { backend }).then((lock) => lock!.unlock());
      } else {
        assert(outcome, "busy, and nobody has it");
        assert.equal(await outcome.verify(), true);
        assert.equal(await outcome.unlock(), true);
      }
      await place.ask(`SET GLOBAL ${variable}_enabled = ON`);
    }
    await place.ask(`SET GLOBAL ${variable}_enabled = OFF`);
  });
}
