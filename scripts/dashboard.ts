/**
 * Draws what a dashboard shows of locks: `deno task dashboard` runs a load on a private PostgreSQL, scrapes
 * `examples/prometheus.ts` twice a second, and writes `docs/observability/dashboard.svg`.
 *
 * The load: four hosts make reports, at first two callers each, for a while eight; a leader renews a short lease, until
 * the server is down; an administrator releases a lock by force.
 *
 * @module
 */
import { type Backend, connect, getLock, tryLock, unlock, withLock } from "@lockmgr/lockmgr";
import { mkdir, writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { Registry } from "prom-client";
import { observeLocks } from "../examples/prometheus.ts";
import { PostgresServer } from "../tests/servers/postgres.ts";
import { drawDashboard, type Panel } from "./dashboard_svg.ts";

const FILE = "docs/observability/dashboard.svg";
/** How long the load runs, and how often it is scraped (s). */
const DURATION_S = 30;
const SCRAPE_EVERY_S = 0.5;
/** When more callers come and go, when a lock is released by force, and when the server is down (s). */
const RUSH = [8, 16];
const FORCED_AT_S = 19;
const DOWN = [22, 25];

/** What was scraped at one time: the value of each series. */
interface Sample {
  readonly at: number;
  readonly values: ReadonlyMap<string, number>;
}

/** Reads the text that Prometheus would scrape. */
function parse(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

/** Sums the series of a metric whose labels match: `sum(metric{labels})`. */
function total({ values }: Sample, metric: string, ...labels: string[]): number {
  let sum = 0;
  for (const [series, value] of values) {
    if (series.startsWith(`${metric}{`) && labels.every((label) => series.includes(label))) sum += value;
  }
  return sum;
}

/** The change of a counter a second. */
function rate(samples: readonly Sample[], metric: string, ...labels: string[]): [number, number][] {
  return samples.slice(1).map((sample, index) => {
    const before = samples[index];
    return [sample.at, (total(sample, metric, ...labels) - total(before, metric, ...labels)) / (sample.at - before.at)];
  });
}

/** `histogram_quantile` over the last two seconds, in milliseconds; a gap where nothing was observed. */
function quantile(share: number, samples: readonly Sample[], metric: string, ...labels: string[]): [number, number][] {
  const span = Math.round(2 / SCRAPE_EVERY_S);
  return samples.slice(1).map((sample, index): [number, number] => {
    const before = samples[Math.max(index + 1 - span, 0)];
    const series = [...sample.values.keys()].filter((key) => key.startsWith(`${metric}_bucket{`));
    const bounds = [...new Set(series.map((key) => /le="([^"]+)"/.exec(key)![1]))].map((le) => ({
      bound: le === "+Inf" ? Infinity : Number(le),
      count: ([sample, before].map((each) => total(each, `${metric}_bucket`, `le="${le}"`, ...labels)))
        .reduce((now, then) => now - then),
    })).sort((one, other) => one.bound - other.bound);
    const wanted = share * (bounds.at(-1)?.count ?? 0);
    const at = bounds.findIndex(({ count }) => count >= wanted);
    if (wanted === 0) return [sample.at, NaN];
    const [low, high] = [bounds[at - 1] ?? { bound: 0, count: 0 }, bounds[at]];
    const within = (wanted - low.count) / (high.count - low.count || 1);
    return [sample.at, (low.bound + (Math.min(high.bound, 300) - low.bound) * within) * 1e3];
  });
}

/** Makes reports until the end. */
async function reports(backend: Backend, from: number, until: number, now: () => number): Promise<void> {
  await pause(from * 1e3);
  while (now() < until) {
    const work = () => pause(10 + Math.random() * 20);
    await withLock(`report:${Math.floor(Math.random() * 3)}`, { backend, expires: 2, wait: 10 }, work).catch(() => {});
    await pause(Math.random() * 80);
  }
}

/** Leads, and leads again after a loss. */
async function lead(backend: Backend, now: () => number): Promise<void> {
  while (now() < DURATION_S) {
    const lock = await getLock("leader", { backend, expires: 1.5, autoRenew: true, wait: 30 }).catch(() => undefined);
    while (lock?.held && now() < DURATION_S) await pause(20);
    await lock?.unlock().catch(() => false);
  }
}

/** Looks for a job that another caller does, as cron on several hosts does. */
async function cron(backend: Backend, now: () => number): Promise<void> {
  while (now() < DURATION_S) {
    await using _ = await tryLock("cron:nightly", { backend, expires: 2 }).catch(() => undefined);
    await pause(400);
  }
}

async function scrape(registry: Registry, now: () => number): Promise<Sample[]> {
  const samples: Sample[] = [];
  while (now() < DURATION_S) {
    samples.push({ at: now(), values: parse(await registry.metrics()) });
    await pause(SCRAPE_EVERY_S * 1e3);
  }
  return samples;
}

async function run(registry: Registry): Promise<Sample[]> {
  await using server = await PostgresServer.start();
  const hosts = await Promise.all(Array.from({ length: 4 }, () => connect(server.url)));
  const startedAt = performance.now();
  const now = () => (performance.now() - startedAt) / 1e3;
  const load = hosts.flatMap((backend, host) => [
    ...[1, 2].map(() => reports(backend, 0, DURATION_S, now)),
    ...[1, 2, 3, 4, 5, 6].map(() => reports(backend, RUSH[0], RUSH[1], now)),
    ...host < 2 ? [cron(backend, now)] : [],
  ]);
  load.push(lead(hosts[0], now));
  load.push((async () => {
    await pause(FORCED_AT_S * 1e3);
    await unlock("leader", { backend: hosts[1] });
    await pause((DOWN[0] - FORCED_AT_S) * 1e3);
    await server.halt();
    await pause((DOWN[1] - DOWN[0]) * 1e3);
    await server.start();
  })());
  const samples = await scrape(registry, now);
  await Promise.all(load);
  for (const backend of hosts) await backend[Symbol.asyncDispose]();
  return samples;
}

const registry = new Registry();
const observing = observeLocks({ registry });
const samples = await run(registry);
observing[Symbol.dispose]();

const WAIT = "lockmgr_wait_seconds";
const GRANTED = 'outcome="granted"';
const reasons = [...samples.at(-1)!.values.keys()].filter((key) => key.startsWith("lockmgr_losses_total"))
  .map((key) => /reason="([^"]+)"/.exec(key)![1]);
const panels: Panel[] = [
  {
    title: "Wait for a report (ms, logarithmic)",
    logarithmic: true,
    lines: {
      "95 %": quantile(0.95, samples, WAIT, 'group="report"', GRANTED),
      "median": quantile(0.5, samples, WAIT, 'group="report"', GRANTED),
    },
  },
  {
    title: "Acquisitions a second",
    lines: {
      "contended": rate(samples, `${WAIT}_count`, GRANTED, 'contended="true"'),
      "at once": rate(samples, `${WAIT}_count`, GRANTED, 'contended="false"'),
      "busy": rate(samples, `${WAIT}_count`, 'outcome="busy"'),
    },
  },
  {
    title: "Hold of a report, renewal (ms, logarithmic)",
    logarithmic: true,
    lines: {
      "hold, 95 %": quantile(0.95, samples, "lockmgr_hold_seconds", 'group="report"'),
      "renewal, 95 %": quantile(0.95, samples, "lockmgr_renewal_seconds"),
    },
  },
  {
    title: "Losses by reason, in all",
    lines: Object.fromEntries(
      [...new Set(reasons)].map((reason) => [
        reason,
        samples.map((sample): [number, number] => [sample.at, total(sample, "lockmgr_losses_total", `"${reason}"`)]),
      ]),
    ),
  },
];
await mkdir("docs/observability", { recursive: true });
await writeFile(FILE, drawDashboard(panels, DURATION_S));
console.log(FILE);
