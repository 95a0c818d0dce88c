/**
 * A web request takes a lock and is answered at once; a worker process finishes the job under the same lock.
 *
 *     deno run -A examples/hand_over.ts shop.db 8080
 *     curl -X POST http://localhost:8080/reports/7
 *
 * The right to the lock goes through a pipe, since every user of the machine can read a command line. When the server
 * or the worker dies in between, the lease expires and the report can be asked for again.
 *
 * @module
 */
import { adoptLock, connect, tryLock } from "@lockmgr/lockmgr";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import process from "node:process";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";

const [path = "shop.db", port = "8080"] = process.argv.slice(2);
const backend = await connect(`sqlite:${path}`);
if (port === "worker") await makeReport(await text(process.stdin));
else serve(Number(port));

/** Answers 202 to a request whose report is made from now on, 409 while it is being made. */
function serve(port: number): void {
  const server = createServer(async (request, response) => {
    const name = decodeURI(request.url!);
    const lock = await tryLock(name, { backend, expires: 60 });
    if (lock === undefined) return void response.writeHead(409).end(`${name} is being made\n`);
    const worker = spawn(process.execPath, ["run", "-A", import.meta.filename!, path, "worker"], {
      stdio: ["pipe", "inherit", "inherit"],
    });
    worker.stdin.end(lock.detach());
    response.writeHead(202).end(`${name} will be made\n`);
  });
  server.listen(port, "localhost", () => console.log(`listening on ${JSON.stringify(server.address())}`));
}

async function makeReport(detached: string): Promise<void> {
  await using lock = await adoptLock(detached, { backend, expires: 30, autoRenew: true, lockProcess: process.pid });
  await setTimeout(500, undefined, { signal: lock.signal }); // the work, which ends when the lock is lost
  console.log(`${lock.name} made under token ${lock.token}`);
  await lock.unlock();
  await backend[Symbol.asyncDispose]();
}
