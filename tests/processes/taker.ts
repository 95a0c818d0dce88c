/** Takes and releases a lock, and says with which error that fails. */
import { BackendError, connect, getLock } from "@lockmgr/lockmgr";
import process from "node:process";

const say = (value: string) => console.log(JSON.stringify(value));
try {
  const backend = await connect(process.argv[2]);
  await (await getLock("a", { backend })).unlock();
  await backend[Symbol.asyncDispose]();
  say("taken");
} catch (error) {
  say(error instanceof BackendError ? error.message : `another error: ${error}`);
}
