/** Holds a lock until its loss is signalled: says `held`, and then `lost` with the moment, or when it stopped running. */
import { connect, getLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { sharedClock } from "../history/clock.ts";
import { watchStalls } from "../history/stalls.ts";

const { target, options, expires } = JSON.parse(process.argv[2]);
const backend = await connect(target, options);
const lock = await getLock("far away", { backend, ...expires === null ? {} : { expires, autoRenew: true } });
let stall = { from: 0, at: 0 };
const stalls = watchStalls("far away", (event) => stall = event as typeof stall);
lock.signal.addEventListener("abort", () => {
  stalls.look();
  console.log(`lost ${sharedClock() - stall.at < 10_000 ? stall.from : sharedClock()}`);
  stalls[Symbol.dispose]();
});
console.log("held");
