/** Leaders in processes of their own that end in every way, in `hybrid` mode. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { start, startEach, type Worker } from "../processes/spawn.ts";
import { freshTable, server, until } from "./server.ts";

/** From when a process led; until when it held the lock as far as it knew, if it could still say so (ms). */
interface Term {
  readonly worker: Worker;
  readonly token: string;
  readonly from: number;
  until?: number;
}

/** Adds the terms of a candidate to those of all, until it ends. */
async function record(worker: Worker, terms: Term[]): Promise<void> {
  for (;;) {
    const said = await worker.next<Term>().catch(() => undefined); // it has ended
    if (said === undefined) return;
    const term = terms.find(({ token }) => token === said.token);
    if (term) term.until = said.until;
    else terms.push({ ...said, worker });
  }
}

test("hybrid: leaders that are killed, stopped or resign are replaced, and no two lead at once", async () => {
  const file = "tests/processes/leader.ts";
  const parameters = [`${server.url}?lockmgr_mode=hybrid&lockmgr_table=${freshTable()}`];
  const terms: Term[] = [];
  await using workers = startEach(file, [parameters, parameters, parameters]);
  for (const worker of workers) void record(worker, terms);
  for (const end of ["SIGKILL", "resign", "SIGKILL", "SIGSTOP", "resign", "SIGKILL"] as const) {
    await until("one leads", () => terms.length > 0, 30);
    const led = terms.length;
    const term = terms[led - 1];
    if (end === "resign") term.worker.tell(end);
    else process.kill(term.worker.child.pid!, end);
    await until(`another leads after ${end}`, () => terms.length > led, 30);
    if (end === "SIGSTOP") process.kill(term.worker.child.pid!, "SIGCONT");
    else {
      const candidate = start(file, parameters);
      workers.push(candidate);
      void record(candidate, terms);
    }
    if (end !== "SIGKILL") {
      await until("the last leader says that it leads no more", () => term.until !== undefined, 30);
    }
  }
  for (const [index, next] of terms.slice(1).entries()) {
    const { token, until = next.from } = terms[index];
    assert(BigInt(next.token) > BigInt(token));
    assert(until <= next.from, `the leader ${token} held the lock ${until - next.from} ms into the next term`);
  }
});
