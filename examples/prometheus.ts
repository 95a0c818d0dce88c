/**
 * Prometheus metrics of all locks of a process. Copy it, call `observeLocks()` once, and serve `register.metrics()`.
 *
 * @module
 */
import type { LockLoss, LockTrace } from "@lockmgr/lockmgr";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { Counter, Gauge, Histogram, register, type Registry } from "prom-client";

/** Upper bounds of the buckets (s). */
const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** What may be changed. */
export interface ObserveOptions {
  /** Where the metrics are registered. By default prom-client's own registry. */
  registry?: Registry;
  /** The label of a name: few in all. By default what is before the first colon, as `invoice` of `invoice:7`. */
  group?: (name: string) => string;
}

/** Measures every lock of this process until disposal. */
export function observeLocks({
  registry = register,
  group = (name) => name.split(":")[0],
}: ObserveOptions = {}): Disposable {
  const registers = [registry];
  const common = ["engine", "mode", "group"];
  const histogram = (name: string, help: string, ...labels: string[]) =>
    new Histogram({ name, help, labelNames: [...common, ...labels], buckets: BUCKETS_S, registers });
  const wait = histogram("lockmgr_wait_seconds", "From the call to its outcome", "outcome", "contended");
  const hold = histogram("lockmgr_hold_seconds", "From the grant to release or loss");
  const renewal = histogram("lockmgr_renewal_seconds", "How long renewals take", "outcome");
  const held = new Gauge({ name: "lockmgr_held", help: "Locks that are held now", labelNames: common, registers });
  const losses = new Counter({
    name: "lockmgr_losses_total",
    help: "Locks that were lost",
    labelNames: [...common, "reason"],
    registers,
  });

  const labels = ({ engine, mode, name }: LockTrace | LockLoss) => ({ engine, mode, group: group(name) });
  const grantedAt = new Map<string, number>();
  const keyOf = ({ name, token }: LockTrace | LockLoss) => `${token} ${name}`;
  const endHold = (event: LockTrace | LockLoss) => {
    const since = grantedAt.get(keyOf(event));
    if (since === undefined || !grantedAt.delete(keyOf(event))) return;
    hold.observe(labels(event), (performance.now() - since) / 1e3);
    held.dec(labels(event));
  };

  const subscribers: Record<string, (message: unknown) => void> = {
    "tracing:lockmgr.acquire:asyncEnd"(message) {
      const event = message as LockTrace;
      const { outcome, contended = false } = event;
      wait.observe({ ...labels(event), outcome, contended: String(contended) }, event.wait! / 1e3);
      if (outcome !== "granted") return;
      grantedAt.set(keyOf(event), performance.now());
      held.inc(labels(event));
    },
    "tracing:lockmgr.renew:asyncEnd"(message) {
      const event = message as LockTrace;
      renewal.observe({ ...labels(event), outcome: event.outcome }, event.wait! / 1e3);
    },
    "tracing:lockmgr.release:asyncEnd": (message) => endHold(message as LockTrace),
    "lockmgr.lost"(message) {
      const loss = message as LockLoss;
      losses.inc({ ...labels(loss), reason: loss.reason });
      endHold(loss);
    },
  };
  for (const [channel, subscriber] of Object.entries(subscribers)) subscribe(channel, subscriber);
  return {
    [Symbol.dispose]() {
      for (const [channel, subscriber] of Object.entries(subscribers)) unsubscribe(channel, subscriber);
    },
  };
}
