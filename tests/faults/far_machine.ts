/**
 * A machine of its own for a process, as far as the network goes: a namespace at the end of a cable that a test may
 * unplug so that neither side is told. It takes the rights of root, `ip` and `tc`.
 *
 * @module
 */
import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** A machine beside this one. */
export interface FarMachine extends AsyncDisposable {
  /** Where it finds this machine. */
  readonly address: string;
  /** What a command has to begin with to run there. */
  readonly command: readonly string[];
  /** From now on every packet is lost, in both directions. */
  unplug(): Promise<void>;
}

/** A token bucket that no packet fits into: the kernel drops what is larger than the bucket, and tells nobody. */
const NOTHING_PASSES = ["root", "tbf", "rate", "8bit", "burst", "10", "latency", "1ms"];

/** Each has a network of four addresses: its own, the two ends', and everybody's. */
let machines = 0;

/** Makes one. */
export async function farMachine(): Promise<FarMachine> {
  const number = machines++ % 60;
  const name = `lockmgr-${process.pid}-${number}`;
  const [here, there] = ["a", "b"].map((end) => `lm${process.pid}${end}${number}`); // 15 characters at most
  const [address, own] = [1, 2].map((end) => `10.231.${process.pid % 250}.${4 * number + end}`);
  const ip = (...parameters: string[]) => execute("ip", parameters);
  const inside = ["ip", "netns", "exec", name];
  await ip("netns", "add", name);
  const remove = async () => {
    await ip("link", "delete", here).catch(() => {}); // it may not have come so far
    await ip("netns", "delete", name);
  };
  try {
    await ip("link", "add", here, "type", "veth", "peer", "name", there);
    await ip("link", "set", there, "netns", name);
    await ip("address", "add", `${address}/30`, "dev", here);
    await ip("link", "set", here, "up");
    await ip("-n", name, "address", "add", `${own}/30`, "dev", there);
    await ip("-n", name, "link", "set", there, "up");
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    address,
    command: inside,
    async unplug() {
      await execute(inside[0], [...inside.slice(1), "tc", "qdisc", "add", "dev", there, ...NOTHING_PASSES]);
      await execute("tc", ["qdisc", "add", "dev", here, ...NOTHING_PASSES]);
    },
    [Symbol.asyncDispose]: remove,
  };
}

/** Whether this process may make one, and the cable can be unplugged. */
export async function mayHaveFarMachine(): Promise<boolean> {
  try {
    await using machine = await farMachine();
    await machine.unplug();
    return true;
  } catch {
    return false;
  }
}
