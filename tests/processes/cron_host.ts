/** A host whose clock is off. Each time it is told to, it runs a short job, unless another host has. */
import process from "node:process";
import { createInterface } from "node:readline";

const [url, offset] = process.argv.slice(2);
const RealDate = Date;
const now = () => RealDate.now() + Number(offset);
globalThis.Date = new Proxy(RealDate, {
  construct: (target, parameters) => Reflect.construct(target, parameters.length > 0 ? parameters : [now()]),
  get: (target, key) => key === "now" ? now : Reflect.get(target, key),
});

const { connect, withLock, Locked } = await import("@lockmgr/lockmgr");
const backend = await connect(url);
console.log(JSON.stringify("ready"));
for await (const _ of createInterface({ input: process.stdin })) {
  try {
    await withLock("nightly", { backend, expires: 5, holdAtLeast: 120 }, () => {});
    console.log(JSON.stringify(true)); // after the release
  } catch (error) {
    if (!(error instanceof Locked)) throw error;
    console.log(JSON.stringify(false));
  }
}
await backend[Symbol.asyncDispose]();
