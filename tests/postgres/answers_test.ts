import assert from "node:assert/strict";
import { QueryTimeouts } from "../../backends/postgres/connection/query_timeouts.ts";
import { test } from "../harness.ts";

test("an answer that does not come is given up, and the others that are awaited are not", async () => {
  const watch = new QueryTimeouts(0.5);
  const connection = setInterval(() => {}, 1_000); // the watch alone does not keep a process alive
  const given: string[] = [];
  const lost = watch.over(new Promise(() => {}), () => given.push("lost"));
  const inTime = watch.over(Promise.resolve("an answer"), () => given.push("in time"));
  assert.equal(await inTime, "an answer");
  const later = Promise.withResolvers<string>();
  await assert.rejects(lost, /^BackendError: Cannot get an answer of PostgreSQL within 0.5 s$/);
  const last = watch.over(later.promise, () => given.push("later"));
  later.reject(new Error("the server's own"));
  await assert.rejects(last, /^Error: the server's own$/);
  assert.deepEqual(given, ["lost"]);
  watch.close();
  clearInterval(connection);
});
