/**
 * The diagnostics channels. While a channel has no subscriber, a call costs a look at its five events and has no event of
 * its own. What a subscriber throws becomes a warning: the runtimes would end the process, and its locks with it.
 *
 * @module
 */
import type { AsyncLocalStorage } from "node:async_hooks";
import type { Backend, LockRow } from "../backend.ts";
import { builtin, monotonic, warn } from "../util/runtime.ts";
import type { LockLoss, LockTrace } from "./events.ts";
import { printIfAsked } from "./print_events.ts";

/** The verbs that have a tracing channel. */
export type Verb = "acquire" | "renew" | "release";

type Subscriber = (message: unknown, name: string) => unknown;

/** What is used of a channel. Deno, Node and Bun have the fields with an underscore, but promise them to no program. */
interface Channel {
  readonly name: string;
  readonly hasSubscribers: boolean;
  publish(message: unknown): void;
  readonly _subscribers?: readonly Subscriber[];
  readonly _stores?: ReadonlyMap<AsyncLocalStorage<unknown>, ((message: unknown) => unknown) | undefined>;
}

/** The events of a tracing channel, as Node's `tracingChannel` names them. */
const EVENTS = ["start", "end", "asyncStart", "asyncEnd", "error"] as const;
type Tracing = Readonly<Record<typeof EVENTS[number], Channel>>;

interface Channels extends Readonly<Record<Verb, Tracing>> {
  readonly lost: Channel;
}

let channels: Channels | null | undefined;

/** Opens the channels; returns `null` where the runtime has none, as on an edge platform. */
function open(): Channels | null {
  const module = builtin<{ channel(name: string): Channel }>("node:diagnostics_channel");
  if (module === undefined) return null;
  const tracing = (verb: Verb): Tracing => {
    const found = EVENTS.map((event) => [event, module.channel(`tracing:lockmgr.${verb}:${event}`)]);
    return Object.fromEntries(found);
  };
  printIfAsked();
  return {
    acquire: tracing("acquire"),
    renew: tracing("renew"),
    release: tracing("release"),
    lost: module.channel("lockmgr.lost"),
  };
}

function opened(): Channels | null {
  return channels === undefined ? channels = open() : channels;
}

/** Whether a verb's channel has subscribers. Callers in the way of each pair ask first: the closure costs a tenth of it. */
export function isTraced(verb: Verb): boolean {
  const found = opened()?.[verb];
  if (!found) return false;
  return found.start.hasSubscribers || found.end.hasSubscribers || found.asyncStart.hasSubscribers ||
    found.asyncEnd.hasSubscribers || found.error.hasSubscribers;
}

/** Whether the channel `lockmgr.lost` has subscribers. */
export function isLossObserved(): boolean {
  return opened()?.lost.hasSubscribers ?? false;
}

/** Tells the subscribers that a lock is lost. */
export function publishLoss({ engine, mode }: Backend, name: string, token: bigint, reason: string): void {
  const loss: LockLoss = { engine, mode, name, token, reason };
  publish(opened()!.lost, loss);
}

/** Runs a call of a verb, which fills in its event; there is one if the verb is traced. */
export function traced<T>(
  verb: Verb,
  { engine, mode }: Backend,
  name: string,
  work: (event?: LockTrace) => Promise<T>,
  token?: bigint,
): Promise<T> {
  if (!isTraced(verb)) return work();
  const event: LockTrace = token === undefined ? { engine, mode, name } : { engine, mode, name, token };
  return trace(verb, event, () => work(event));
}

function trace<T>(verb: Verb, event: LockTrace, work: () => Promise<T>): Promise<T> {
  const { start, end, asyncStart, asyncEnd, error } = opened()![verb];
  const startedAt = monotonic();
  const message = { ...event };
  const tell = (channel: Channel) => {
    contain(channel, channel, () => Object.assign(message, event)); // a subscriber may have frozen it
    publish(channel, message);
  };
  const run = async () => {
    try {
      return await work();
    } catch (cause) {
      Object.assign(event, { outcome: "failed", error: cause, wait: monotonic() - startedAt });
      tell(error);
      throw cause;
    } finally {
      event.wait = monotonic() - startedAt;
      tell(asyncStart);
      tell(asyncEnd);
    }
  };
  return withStores(start, message, () => {
    tell(start);
    const running = run();
    tell(end);
    return running;
  });
}

/** Runs one request for several names, each of which has its event if the verb is traced; without, there are none. */
export function traceEach<T>(
  verb: Verb,
  { engine, mode }: Backend,
  names: readonly string[],
  work: (events: readonly LockTrace[]) => Promise<T>,
): Promise<T> {
  if (!isTraced(verb)) return work([]);
  const events = names.map((name): LockTrace => ({ engine, mode, name }));
  const done = Promise.resolve().then(() => work(events)); // after the start of all
  return Promise.all(events.map((event) => trace(verb, event, () => done))).then(() => done);
}

/** Runs one request that renews several names. */
export function traceRenewals(
  backend: Backend,
  names: readonly string[],
  work: () => Promise<(LockRow | undefined)[]>,
): Promise<(LockRow | undefined)[]> {
  return traceEach("renew", backend, names, async (events) => {
    const rows = await work();
    events.forEach((event, index) => {
      const row = rows[index];
      Object.assign(event, { outcome: row ? "renewed" : "gone", batch: names.length, token: row?.token });
    });
    return rows;
  });
}

/** Publishes to each subscriber, whatever another one throws. */
function publish(channel: Channel, message: unknown): void {
  const subscribers = channel._subscribers;
  if (!Array.isArray(subscribers)) return channel.publish(message);
  for (const subscriber of [...subscribers]) {
    const result = contain(channel, subscriber, () => subscriber(message, channel.name));
    if (result instanceof Promise) result.catch((cause) => report(channel, subscriber, cause));
  }
}

/** Runs an action in the stores that are bound to a channel (`bindStore`), as its `runStores` does. */
function withStores<T>(channel: Channel, message: unknown, action: () => T): T {
  let run = action;
  for (const [store, transform] of channel._stores ?? []) {
    const inner = run;
    const value = transform ? contain(channel, transform, () => transform(message)) : message;
    run = () => store.run(value, inner);
  }
  return run();
}

/** The subscribers that have failed: each is reported once. */
const failed = new WeakSet<object>();

function contain<T>(channel: Channel, subscriber: object, action: () => T): T | undefined {
  try {
    return action();
  } catch (cause) {
    report(channel, subscriber, cause);
    return undefined;
  }
}

function report({ name }: Channel, subscriber: object, cause: unknown): void {
  if (failed.has(subscriber)) return;
  failed.add(subscriber);
  warn(new Error(`A subscriber of the channel "${name}" failed: ${cause}`, { cause }));
}
