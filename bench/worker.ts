/**
 * A process that measures, under Deno, Node and Bun alike: it reads orders from its input, one line of JSON each, and
 * answers each with a line.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { type CrowdOrder, Crowds } from "./measures/crowd.ts";
import { type ManyOrder, ManyWaiters } from "./measures/many_waiters.ts";
import { race, type RaceOrder } from "./measures/race.ts";
import { type TurnOrder, Turns } from "./measures/turns.ts";
import { Waiting, type WaitOrder } from "./measures/waiting.ts";

/** What a worker can be told to do. */
export type Order =
  | { readonly do: "turn"; readonly with: TurnOrder }
  | { readonly do: "crowd"; readonly with: CrowdOrder }
  | { readonly do: "race"; readonly with: RaceOrder }
  | { readonly do: "wait"; readonly with: WaitOrder }
  | { readonly do: "many"; readonly with: ManyOrder };

const crowds = new Crowds();
const turns = new Turns();
const waiting = new Waiting();
const many = new ManyWaiters();

function obey(order: Order): Promise<unknown> {
  if (order.do === "turn") return turns.take(order.with);
  if (order.do === "wait") return waiting.measure(order.with);
  if (order.do === "many") return many.measure(order.with);
  return order.do === "crowd" ? crowds.measure(order.with) : race(order.with);
}

for await (const line of createInterface({ input: process.stdin })) {
  let said: object;
  try {
    said = { answer: await obey(JSON.parse(line)) };
  } catch (error) {
    said = { error: (error as Error).stack ?? String(error) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
await crowds.close();
await turns.close();
await waiting.close();
await many.close();
