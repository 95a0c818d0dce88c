import assert from "node:assert/strict";
import { answerWithin } from "../../backends/postgres/connection/client.ts";
import { test } from "../harness.ts";

test("answer timeout: a missing answer is a retryable error, other outcomes are unchanged", async () => {
  let late = 0;
  const silent = answerWithin(0.2, new Promise(() => {}), () => late++);
  assert.equal(await answerWithin(0.2, Promise.resolve("an answer"), () => late++), "an answer");
  await assert.rejects(silent, { message: "Cannot get an answer of PostgreSQL within 0.2 s", retryable: true });
  await assert.rejects(answerWithin(0.2, Promise.reject(new Error("the server's own"))), /^Error: the server's own$/);
  assert.equal(late, 1);
});
