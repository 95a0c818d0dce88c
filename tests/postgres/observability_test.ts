/** The recipes for metrics and traces, on a small contended load, beside a subscriber that throws. */
import { type Backend, connect, getLock, tryLock, unlock, withLock } from "@lockmgr/lockmgr";
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider } from "@opentelemetry/sdk-metrics";
import { PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import process from "node:process";
import { Registry } from "prom-client";
import * as opentelemetry from "../../examples/opentelemetry.ts";
import * as prometheus from "../../examples/prometheus.ts";
import { aborted } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { freshTable, server, until } from "./server.ts";

/** Callers that contend for one name, and how often each acquires it. */
const CALLERS = 4;
const ROUNDS = 5;
/** How long the name is held (ms). */
const HOLD_MS = 5;

/** Contends for a name, renews a lock, loses one by force and one by expiry, and finds one busy. */
async function load(one: Backend, other: Backend): Promise<void> {
  const holding = () => new Promise((resolve) => setTimeout(resolve, HOLD_MS));
  await Promise.all(Array.from({ length: CALLERS }, async (_, index) => {
    const backend = index % 2 === 0 ? one : other;
    for (let round = 0; round < ROUNDS; round++) await withLock("report:7", { backend, wait: 60 }, holding);
  }));
  const forced = await getLock("forced", { backend: one });
  await forced.renew();
  assert.equal(await tryLock("forced", { backend: other }), undefined);
  await unlock("forced", { backend: other });
  assert.equal(await forced.verify(), false);
  const { signal } = await getLock("expired", { backend: one, expires: 0.05 });
  await aborted(signal);
}

/** Runs the load while every event of a subscriber throws; returns what was not caught, and the warnings. */
async function loadBesideFailures(): Promise<{ uncaught: unknown[]; warnings: string[] }> {
  const uncaught: unknown[] = [];
  const warnings: string[] = [];
  const onUncaught = (error: unknown) => uncaught.push(error);
  const onWarning = ({ message }: Error) => warnings.push(message);
  const fail = () => {
    throw new Error("a failing subscriber");
  };
  const channels = ["tracing:lockmgr.acquire:start", "tracing:lockmgr.release:asyncEnd", "lockmgr.lost"];
  process.on("uncaughtException", onUncaught).on("warning", onWarning);
  for (const channel of channels) subscribe(channel, fail);
  try {
    const table = freshTable();
    await using one = await connect(server.url, { table });
    await using other = await connect(server.url, { table });
    await load(one, other);
    await until("the failure is reported", () => warnings.length > 0);
  } finally {
    for (const channel of channels) unsubscribe(channel, fail);
    process.off("uncaughtException", onUncaught).off("warning", onWarning);
  }
  return { uncaught, warnings };
}

/** The number of acquisitions that are granted under the load. */
const GRANTED = CALLERS * ROUNDS + 2;

test("OpenTelemetry shows waits, holds, renewals and losses, and each call as a span", async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const meters = new MeterProvider({ readers: [reader] });
  const spans = new InMemorySpanExporter();
  const tracers = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter: spans })] });
  {
    using _ = opentelemetry.observeLocks({ meter: meters.getMeter("test"), tracer: tracers.getTracer("test") });
    const { uncaught } = await loadBesideFailures();
    assert.deepEqual(uncaught, []);
  }
  await meters.forceFlush();
  const points = new Map(
    exporter.getMetrics()[0].scopeMetrics[0].metrics.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints]),
  );
  // deno-lint-ignore no-explicit-any -- a point is a number or a histogram
  const of = (name: string, labels: object): any[] =>
    points.get(name)!.filter(({ attributes }) =>
      Object.entries(labels).every(([label, value]) => attributes[label] === value)
    );
  // deno-lint-ignore no-explicit-any -- as above
  const count = (found: any[]) => found.reduce((sum, { value }) => sum + value.count, 0);
  const common = { engine: "postgres", mode: "lease", group: "report" };
  assert.equal(count(of("lockmgr.wait", { outcome: "granted" })), GRANTED);
  const [contended] = of("lockmgr.wait", { ...common, outcome: "granted", contended: true });
  assert(contended.value.count >= CALLERS - 1);
  assert(contended.value.max >= HOLD_MS / 1e3 * 0.9, "a waiter waits for the holder before it");
  assert.equal(count(of("lockmgr.wait", { group: "forced", outcome: "busy" })), 1);
  const [hold] = of("lockmgr.hold", common);
  assert.equal(hold.value.count, CALLERS * ROUNDS);
  assert(hold.value.min >= HOLD_MS / 1e3 * 0.9);
  assert.equal(count(of("lockmgr.hold", {})), GRANTED);
  assert.equal(count(of("lockmgr.renewal", { group: "forced", outcome: "renewed" })), 1);
  assert.deepEqual(
    points.get("lockmgr.losses")!.map(({ attributes, value }) => [attributes.group, attributes.reason, value]).sort(),
    [
      ["expired", "its lease expired before the database confirmed a renewal", 1],
      ["forced", "the database says that it is gone", 1],
    ],
  );
  const acquired = spans.getFinishedSpans().filter(({ name }) => name === "lockmgr.acquire");
  assert.equal(acquired.filter(({ attributes }) => attributes["lockmgr.outcome"] === "granted").length, GRANTED);
  assert(acquired.every(({ ended, attributes }) => ended && Number(attributes["lockmgr.batch"]) >= 1));
  await meters.shutdown();
  await tracers.shutdown();
});

test("Prometheus shows waits, holds, renewals and losses", async () => {
  const registry = new Registry();
  {
    using _ = prometheus.observeLocks({ registry });
    const { uncaught, warnings } = await loadBesideFailures();
    assert.deepEqual(uncaught, []);
    assert(warnings.every((text) => /^A subscriber of the channel .* failed/.test(text)), warnings.join("\n"));
  }
  const text = await registry.metrics();
  const value = (series: string) => {
    const line = text.split("\n").find((line) => line.startsWith(`${series} `));
    return line === undefined ? 0 : Number(line.slice(series.length));
  };
  const common = 'engine="postgres",mode="lease",group=';
  const waits = ["true", "false"].map((contended) =>
    value(`lockmgr_wait_seconds_count{${common}"report",outcome="granted",contended="${contended}"}`)
  );
  assert.equal(waits[0] + waits[1], CALLERS * ROUNDS, text);
  assert(waits[0] >= CALLERS - 1);
  assert.equal(value(`lockmgr_hold_seconds_count{${common}"report"}`), CALLERS * ROUNDS);
  assert(value(`lockmgr_hold_seconds_sum{${common}"report"}`) >= CALLERS * ROUNDS * HOLD_MS / 1e3 * 0.9);
  assert.equal(value(`lockmgr_renewal_seconds_count{${common}"forced",outcome="renewed"}`), 1);
  assert.equal(value(`lockmgr_losses_total{${common}"forced",reason="the database says that it is gone"}`), 1);
  for (const group of ["report", "forced", "expired"]) assert.equal(value(`lockmgr_held{${common}"${group}"}`), 0);
});
