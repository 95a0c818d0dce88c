/**
 * OpenTelemetry metrics and spans of all locks of a process. Copy it, register your SDK, and call `observeLocks()` once.
 *
 * @module
 */
import type { LockLoss, LockTrace } from "@lockmgr/lockmgr";
import { type Attributes, type Meter, metrics, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Tracer } from "@opentelemetry/api";
import { subscribe, unsubscribe } from "node:diagnostics_channel";

/** Upper bounds of the buckets (s). */
const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** What may be changed. */
export interface ObserveOptions {
  /** Where the metrics go. By default the global provider's. */
  meter?: Meter;
  /** Where the spans go. By default the global provider's. */
  tracer?: Tracer;
  /** The label of a name: few in all. By default what is before the first colon, as `invoice` of `invoice:7`. */
  group?: (name: string) => string;
}

/** Measures every lock of this process until disposal. */
export function observeLocks({
  meter = metrics.getMeter("lockmgr"),
  tracer = trace.getTracer("lockmgr"),
  group = (name) => name.split(":")[0],
}: ObserveOptions = {}): Disposable {
  const seconds = { unit: "s", advice: { explicitBucketBoundaries: BUCKETS_S } };
  const wait = meter.createHistogram("lockmgr.wait", { ...seconds, description: "From the call to its outcome" });
  const hold = meter.createHistogram("lockmgr.hold", { ...seconds, description: "From the grant to release or loss" });
  const renewal = meter.createHistogram("lockmgr.renewal", { ...seconds, description: "How long renewals take" });
  const losses = meter.createCounter("lockmgr.losses", { description: "Locks that were lost" });

  const labels = ({ engine, mode, name }: LockTrace | LockLoss) => ({ engine, mode, group: group(name) });
  const grantedAt = new Map<string, number>();
  const keyOf = ({ name, token }: LockTrace | LockLoss) => `${token} ${name}`;
  const endHold = (event: LockTrace | LockLoss) => {
    const since = grantedAt.get(keyOf(event));
    if (since === undefined || !grantedAt.delete(keyOf(event))) return;
    hold.record((performance.now() - since) / 1e3, labels(event));
  };

  const measure: Record<string, (event: LockTrace, labels: Attributes) => void> = {
    acquire(event, labels) {
      wait.record(event.wait! / 1e3, { ...labels, contended: event.contended });
      if (event.outcome === "granted") grantedAt.set(keyOf(event), performance.now());
    },
    renew: (event, labels) => renewal.record(event.wait! / 1e3, labels),
    release: endHold,
  };

  const spans = new WeakMap<LockTrace, Span>();
  const subscribers: [channel: string, subscriber: (message: unknown) => void][] = [];
  for (const verb of Object.keys(measure)) {
    const on = (event: string, handle: (trace: LockTrace) => void) =>
      subscribers.push([`tracing:lockmgr.${verb}:${event}`, (message) => handle(message as LockTrace)]);
    on("start", (event) => {
      const attributes = { "lockmgr.name": event.name, "lockmgr.engine": event.engine, "lockmgr.mode": event.mode };
      spans.set(event, tracer.startSpan(`lockmgr.${verb}`, { kind: SpanKind.CLIENT, attributes }));
    });
    on("error", (event) => {
      spans.get(event)?.recordException(event.error as Error);
      spans.get(event)?.setStatus({ code: SpanStatusCode.ERROR });
    });
    on("asyncEnd", (event) => {
      const { token, outcome, contended, batch } = event;
      spans.get(event)?.setAttributes({
        "lockmgr.token": token?.toString(),
        "lockmgr.outcome": outcome,
        "lockmgr.contended": contended,
        "lockmgr.batch": batch,
      }).end();
      measure[verb](event, { ...labels(event), outcome });
    });
  }
  subscribers.push(["lockmgr.lost", (message) => {
    const loss = message as LockLoss;
    losses.add(1, { ...labels(loss), reason: loss.reason });
    endHold(loss);
  }]);

  for (const [channel, subscriber] of subscribers) subscribe(channel, subscriber);
  return {
    [Symbol.dispose]() {
      for (const [channel, subscriber] of subscribers) unsubscribe(channel, subscriber);
    },
  };
}
