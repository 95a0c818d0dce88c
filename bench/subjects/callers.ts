/**
 * 16, 256 and 4,096 callers in one process under Deno, each with a name of its own.
 *
 * @module
 */
import { ONE_CONNECTION } from "../contestants.ts";
import { crowd, Field } from "../field.ts";
import type { Engine } from "../places.ts";
import { engines, labels } from "../places.ts";
import { atLeast, figure, type Section, spread, subject, type Target } from "../section.ts";
import type { Quartiles } from "../statistics.ts";
import { here } from "../workers.ts";
import { answersOf, kindOf } from "./pairs.ts";

/** Pairs a second by number of callers and candidate. */
type Raw = Record<string, Record<string, Quartiles>>;

/** Crowds that are measured; with the most, the single statements would take seconds a turn. */
const CROWDS = [
  { callers: 16, rounds: 4, turn: 150, single: true },
  { callers: 256, rounds: 7, turn: 400, single: true },
  { callers: 4096, rounds: 3, turn: 600, single: false },
];

/** How many times our own single statements, on one connection as a batch is. */
const AGAINST_SINGLE: Record<string, number> = {
  "PostgreSQL lease": 10,
  "MySQL lease": 25,
  "MariaDB lease": 35,
  "SQLite lease": 25,
  "PostgreSQL session": 6,
};
/** How many times redlock. */
const AGAINST_REDLOCK: Record<string, number> = {
  "PostgreSQL lease": 1.3,
  "PostgreSQL session": 3,
  "SQLite lease": 2,
  "MariaDB lease": 0.9,
};

/** Our own single statements on one connection; SQLite has no more than that. */
function singleOf(label: string): string {
  return label.startsWith(labels.sqlite) ? `${label}, one statement each` : `${label}, ${ONE_CONNECTION}`;
}

function targetsOf(figures: Record<string, Quartiles>): Target[] {
  const against = (limits: Record<string, number>, what: string, other: (label: string) => string) =>
    Object.entries(limits).flatMap(([label, limit]) => {
      const times = timesOf(figures, label, other(label));
      return times === undefined ? [] : [atLeast(2, `${label}, 256 callers against ${what}`, limit, times)];
    });
  return [
    ...against(AGAINST_SINGLE, ONE_CONNECTION, singleOf),
    ...against(AGAINST_REDLOCK, "redlock", () => "redlock"),
    ...against({ "PostgreSQL lease": 1 }, "Verrou on PostgreSQL", () => "Verrou on PostgreSQL"),
  ];
}

/** How many times as fast one is as another; `undefined` when either was not measured. */
function timesOf(figures: Record<string, Quartiles>, label: string, other: string): number | undefined {
  return figures[label] && figures[other] && figures[label].median / figures[other].median;
}

/** What a pool changes: several connections let the server commit several single statements together. */
function overPool(figures: Record<string, Quartiles>): string {
  const times = Object.keys(AGAINST_SINGLE).filter((label) => !label.startsWith(labels.sqlite)).flatMap((label) => {
    const [narrow, wide] = [singleOf(label), `${label}, one statement each`].map((one) => timesOf(figures, label, one));
    return narrow && wide ? [`${label} ${figure(narrow)} and ${figure(wide)}`] : [];
  });
  return "The speed of 256 batched callers, as a multiple of one statement each: first on one connection (which the " +
    `targets are about), then on all connections, where the server commits several at a time: ${times.join(", ")}.`;
}

/** Which of our leases a rival passes, in one crowd. */
function faster(callers: string, figures: Record<string, Quartiles>): string {
  const ours = engines.map((engine: Engine) => `${labels[engine]} lease`).filter((label) => figures[label]);
  const rivals = Object.keys(figures).filter((label) => kindOf(label) === "rival" && !label.includes("round trip"));
  const wins = rivals.flatMap((rival) =>
    ours.filter((label) => figures[rival].median > figures[label].median)
      .map((label) => `${rival} passes the ${label} ${figure(figures[rival].median / figures[label].median)} x`)
  );
  return `${Number(callers).toLocaleString("en")} callers: ${
    wins.length === 0 ? "no rival passes any lease" : wins.join(", ")
  }.`;
}

function describe(raw: Raw): Section {
  const crowds = Object.keys(raw);
  const candidates = [...new Set(crowds.flatMap((callers) => Object.keys(raw[callers])))];
  const cell = (callers: string, label: string) => raw[callers][label] ? spread(raw[callers][label]) : "–";
  return {
    title: "Many callers in one process",
    text: [
      "Each caller acquires and releases its own name in a loop, with `getLock` and `unlock`. Concurrent " +
      'requests are batched into one statement. "One statement each" is the same backend without batching, on all of ' +
      "its connections, or on one, as a batch is. The rivals on Redis are pipelined by their client, and nothing that " +
      "they write reaches a disk.",
      ...raw["256"] ? [overPool(raw["256"])] : [],
      crowds.map((callers) => faster(callers, raw[callers])).join(" "),
      "Where a lease is behind, its batches wait for the disk: each is a commit that is flushed before its callers go " +
      "on, and MySQL and MariaDB flush a binary log besides. Few callers make small batches. `navigator.locks` leave " +
      "neither the process nor its memory.",
    ],
    tables: [{
      head: ["pairs a second, Deno", ...crowds.map((callers) => `${Number(callers).toLocaleString("en")} callers`)],
      rows: candidates.map((label) => [label, ...crowds.map((callers) => cell(callers, label))]),
    }],
    plots: crowds.map((callers) => ({
      name: `callers-${callers}`,
      title: `${Number(callers).toLocaleString("en")} callers in one process`,
      axis: "pairs a second, more is better",
      bars: Object.entries(raw[callers]).map(([label, quartiles]) => ({ label, kind: kindOf(label), ...quartiles })),
    })),
    targets: raw["256"] ? targetsOf(raw["256"]) : [],
    short: {
      question: "pairs a second, 256 callers",
      axis: "a second; more is better",
      unit: "",
      answers: answersOf(raw["256"] ?? {}, ({ median }) => median),
    },
  };
}

export const callers = subject<Raw>({
  name: "256 callers",
  async measure({ places }, quick) {
    const raw: Raw = {};
    await using field = new Field(here, places);
    for (const { callers, single, ...rounds } of CROWDS) {
      const turns = { warmUp: 1, ...rounds, ...quick && { rounds: 1, turn: 1 } };
      raw[callers] = await field.compare(crowd(places, true, single), callers, turns);
    }
    return raw;
  },
  describe,
});
