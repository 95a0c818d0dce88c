/**
 * One process of many that wait for a name.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { type Backend, getLock, type Mode } from "../../mod.ts";
import { open } from "../contestants.ts";
import type { Engine, Places } from "../places.ts";

/** What to do: wait for a name; without one, stop. */
export interface WaitOrder {
  readonly places: Places;
  readonly engine: Engine;
  readonly mode: Mode;
  readonly name?: string;
}

/** What the process has used so far: seconds of a core, and MiB of memory. */
export interface Used {
  readonly cpu: number;
  readonly memory: number;
}

/** MiB of this process's own memory, without what it shares with others of its program; `NaN` where the system does not say. */
export async function ownMemory(): Promise<number> {
  const text = await readFile("/proc/self/smaps_rollup", "utf8").catch(() => "");
  const [, size] = /Private_Dirty:\s+(\d+) kB/.exec(text) ?? [];
  return size === undefined ? NaN : Number(size) / 1024;
}

/** The wait of this process. */
export class Waiting {
  #backend: Backend | undefined;
  #ending = new AbortController();
  #wait: Promise<unknown> | undefined;

  /** Begins to wait if it does not, or stops; answers what the process has used. */
  async measure({ places, engine, mode, name }: WaitOrder): Promise<Used> {
    if (name === undefined) await this.close();
    else if (this.#backend === undefined) {
      const backend = this.#backend = await open(places, engine, mode);
      const { signal } = this.#ending = new AbortController();
      this.#wait = getLock(name, { backend, wait: Infinity, signal }).then((lock) => lock.unlock(), () => {});
    }
    const { user, system } = process.cpuUsage();
    return { cpu: (user + system) / 1e6, memory: await ownMemory() };
  }

  /** Ends the wait. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#wait;
    await this.#backend?.[Symbol.asyncDispose]();
    this.#backend = undefined;
  }
}
