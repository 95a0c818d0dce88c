/** Holds a lock until it is told of its loss: says `held`, and then `lost` with the moment. */
import { connect, getLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { sharedClock } from "../history/clock.ts";

const { target, options, expires } = JSON.parse(process.argv[2]);
const backend = await connect(target, options);
const lock = await getLock("far away", { backend, ...expires === null ? {} : { expires, autoRenew: true } });
const running = setInterval(() => {}, 1_000);
lock.signal.addEventListener("abort", () => {
  console.log(`lost ${sharedClock()}`);
  clearInterval(running);
});
console.log("held");
