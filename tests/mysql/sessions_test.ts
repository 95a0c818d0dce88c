import { getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { run } from "../processes/spawn.ts";
import { onEach, onOwn } from "./flavors.ts";

for (const mode of ["session", "hybrid"] as const) {
  onOwn(`${mode}: wait_timeout of the server does not end an idle holder`, ["--wait-timeout=2"], async (place) => {
    const backend = await place.backend({ mode });
    const lock = await getLock("a", { backend });
    const idle = place.ask("SELECT SLEEP(3.2)"); // the server's own clock of three seconds
    await idle;
    assert.equal(lock.held, true);
    assert.equal(await lock.verify(), true);
    assert.equal(await tryLock("a", { backend: await place.backend({ mode }) }), undefined);
    assert.equal(await lock.unlock(), true);
  });
}

for (const mode of ["lease", "session", "hybrid"] as const) {
  onEach(`${mode}: a held lock does not keep the process alive`, async (place) => {
    const { code, output } = await run("tests/mysql/exits_without_closing.ts", [place.url, mode]);
    assert.equal(code, 0);
    assert.equal(output.trim(), "true");
    const backend = await place.backend({ mode });
    if (mode !== "lease") await getLock("a", { backend, wait: 10 }).then((lock) => lock.unlock()); // freed by the end
  });
}
