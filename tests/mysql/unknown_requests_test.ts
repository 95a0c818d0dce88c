import assert from "node:assert/strict";
import type { Abandoned } from "../../backends/mysql/connection/abandoned.ts";
import { UnknownRequests } from "../../backends/mysql/rows/unknown_requests.ts";
import { deferred, turn } from "../conformance/case.ts";
import { test } from "../harness.ts";

test("mysql: a request that is made again waits for the end of a release that was not answered", async () => {
  const [acquisition, release] = [deferred(), deferred()];
  const abandoned = { pending: acquisition.promise };
  const unknown = new UnknownRequests(abandoned as unknown as Abandoned, () => {
    abandoned.pending = release.promise;
    return Promise.reject(new Error("no answer"));
  });
  const claim = { name: "a", owner: "me" };
  unknown.note([claim]);
  acquisition.resolve();
  await turn();
  let settled = false;
  const again = unknown.settle('acquire lock "a"', [claim], true).then(() => settled = true);
  await turn();
  assert.equal(settled, false, "the release may still take effect");
  release.resolve();
  await again;
});
