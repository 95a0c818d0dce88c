/**
 * One process with very many waiters on one name.
 *
 * @module
 */
import process from "node:process";
import { type Backend, getLock, type Mode } from "../../mod.ts";
import { open } from "../contestants.ts";
import type { Engine, Places } from "../places.ts";
import { ownMemory, type Used } from "./waiting.ts";

/** What to do: open a backend, let the waiters come, look what they cost, or await that all have been served. */
export interface ManyOrder {
  readonly step: "open" | "join" | "look" | "serve";
  readonly places: Places;
  readonly engine: Engine;
  readonly mode: Mode;
  readonly name: string;
  readonly waiters: number;
}

/** The waiters of this process. */
export class ManyWaiters {
  #backend: Backend | undefined;
  #served: Promise<unknown> | undefined;

  /** Takes a step and answers what the process has used so far. */
  async measure({ step, places, engine, mode, name, waiters }: ManyOrder): Promise<Used> {
    if (step === "open") {
      this.#backend = await open(places, engine, mode);
      await this.#take(`${name} warm`);
    }
    if (step === "join") this.#served = Promise.all(Array.from({ length: waiters }, () => this.#take(name)));
    if (step === "serve") await this.#served;
    const { user, system } = process.cpuUsage();
    return { cpu: (user + system) / 1e6, memory: await ownMemory() };
  }

  async #take(name: string): Promise<void> {
    const lock = await getLock(name, { backend: this.#backend, wait: Infinity });
    await lock.unlock();
  }

  /** Closes the backend. */
  async close(): Promise<void> {
    await this.#backend?.[Symbol.asyncDispose]();
  }
}
