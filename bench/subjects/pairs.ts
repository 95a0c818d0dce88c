/**
 * One caller under Deno: our modes beside floors and rivals, all in one run.
 *
 * @module
 */
import { Field, lone } from "../field.ts";
import { engines, labels } from "../places.ts";
import { atLeast, atMost, type Bar, type Kind, type Section, spread, subject, type Target } from "../section.ts";
import { figure } from "../section.ts";
import { type Quartiles, timeRatio } from "../statistics.ts";
import { here } from "../workers.ts";

/** Microseconds by candidate. */
type Raw = Record<string, Quartiles>;

/** How many bare durable upserts a pair may cost. */
const LIMITS = { postgres: 2.1, mysql: 2.5, mariadb: 2.5, sqlite: 2.2 };

/** Whose candidate it is, by its label. */
export function kindOf(label: string): Kind {
  if (/round trip|durable upsert|navigator\.locks/.test(label)) return "floor";
  if (/statements? (each|joined)/.test(label)) return "single";
  return /^(PostgreSQL|MySQL|MariaDB|SQLite) /.test(label) ? "ours" : "rival";
}

/** Rivals that are named at the top of the page. */
const NAMED = ["redlock", "Verrou on PostgreSQL"];

/** What is said in short of each kind of lock as users get it, and of two rivals. */
export function answersOf<T>(raw: Readonly<Record<string, T>>, say: (figures: T) => number): Record<string, number> {
  const isOffered = (label: string) => (kindOf(label) === "ours" && !label.includes(",")) || NAMED.includes(label);
  return Object.fromEntries(
    Object.entries(raw).filter(([label]) => isOffered(label)).map(([label, figures]) => [label, say(figures)]),
  );
}

function targetsOf(raw: Raw): Target[] {
  const there = engines.filter((engine) => raw[`${labels[engine]} lease`] !== undefined);
  const [upsert, lease] = [
    (label: string) => raw[`${label} durable upsert`],
    (label: string) => raw[`${label} lease`],
  ];
  const ours = there.flatMap((engine) => {
    const label = labels[engine];
    const alone = raw[`${label} lease, one statement each`];
    return [
      atMost(
        1,
        `${label} lease, pair against a durable upsert`,
        LIMITS[engine],
        timeRatio(lease(label), upsert(label)),
      ),
      atLeast(
        1,
        `${label} lease, speed of the batching code against bare statements`,
        0.97,
        timeRatio(alone, raw[`${label} lease, statements joined`]),
      ),
      atMost(
        3,
        `${label} lease, failed try against a durable upsert`,
        0.5,
        timeRatio(raw[`${label} lease, failed try`], upsert(label)),
      ),
    ];
  });
  return [...ours, ...againstVerrou(raw)];
}

/** The share of the bare statements' speed that remains with all of `getLock` and `unlock` around them. */
function whole(raw: Raw): string {
  const shares = engines.map((engine) => `${labels[engine]} lease`).filter((label) => raw[label]).map((label) =>
    `${label} ${figure(timeRatio(raw[`${label}, one statement each`], raw[label]))}`
  );
  return "The batching code is measured by itself, against bare statements. Of the speed of bare statements, the " +
    `whole of \`getLock\` and \`unlock\`, with the lock object, keeps: ${shares.join(", ")}.`;
}

/** What is measured of our locks beside those of others: the end of its label, and what it is called. */
const ACTIONS = { "": "a pair", ", failed try": "a failed try" };

/**
 * Which rivals take less time for one caller than ours: a lease is compared with all that does not run on another
 * engine, a session lock with what runs on its server.
 */
function faster(raw: Raw, action: keyof typeof ACTIONS): string {
  const rivals = Object.keys(raw).filter((label) => kindOf(label) === "rival" && !label.includes(","))
    .filter((rival) => raw[rival + action]);
  const isElsewhere = (rival: string) => engines.some((engine) => rival.endsWith(` on ${labels[engine]}`));
  const sentences = engines.flatMap((engine) =>
    ["lease", "session"].flatMap((mode) => {
      const label = `${labels[engine]} ${mode}`;
      const own = raw[label + action];
      if (own === undefined) return [];
      const there = rivals.filter((rival) =>
        rival.endsWith(` on ${labels[engine]}`) || (mode === "lease" && !isElsewhere(rival))
      );
      const winners = there.filter((rival) => raw[rival + action].median < own.median);
      if (winners.length === 0) return there.length === 0 ? [] : [`No rival is faster than a ${label}.`];
      const by = (rival: string) => `${rival} (${figure(own.median / raw[rival + action].median)} x)`;
      return [`Faster than a ${label}: ${winners.map(by).join(", ")}.`];
    })
  );
  return `For ${ACTIONS[action]}: ${sentences.join(" ")}`;
}

/** How the two compare that keep a lock in a row of PostgreSQL. */
function againstVerrou(raw: Raw): Target[] {
  return Object.entries(ACTIONS).flatMap(([action, what]) => {
    const [lease, verrou] = ["PostgreSQL lease", "Verrou on PostgreSQL"].map((label) => raw[label + action]);
    return lease && verrou
      ? [atMost(10, `PostgreSQL lease, ${what} against Verrou on PostgreSQL`, 1, timeRatio(lease, verrou))]
      : [];
  });
}

function describe(raw: Raw): Section {
  const bars = Object.entries(raw).map(([label, quartiles]): Bar => ({ label, kind: kindOf(label), ...quartiles }));
  const rows = bars.map(({ label, kind, ...quartiles }) => {
    const engine = engines.find((engine) => label.startsWith(labels[engine]));
    const upsert = engine && raw[`${labels[engine]} durable upsert`];
    return [label, kind, spread(quartiles), upsert ? figure(timeRatio(quartiles, upsert)) : "–"];
  });
  return {
    title: "One caller",
    text: [
      "One caller acquires a free name and releases it, or fails because another client holds it. The rivals on Redis and on " +
      "files are not durable: their locks are forgotten when Redis or the machine ends. None of the rivals gives a " +
      "fencing token. `advisory-lock` opens a connection for each lock. The server's own session locks cost one or two " +
      "round trips and no commit. `navigator.locks` are the runtime's own, which reach no other process: a floor.",
      "The three predecessors run in Python with Django's own drivers, as their manuals describe: django-lockmgr deletes " +
      "expired locks, reads, inserts a row and deletes it; django-pglocks and django-mysql take the server's own lock, " +
      "through a driver in C and without a fencing token.",
      whole(raw),
      faster(raw, ""),
      faster(raw, ", failed try"),
      "Where a lease is behind, that is the disk: the server flushes its log before it answers an acquire and a release, " +
      "while Redis answers from memory, and nothing flushes the directory that `proper-lockfile` makes. Where a session " +
      "lock is behind, that is the driver in C and the token: the predecessors on the same server draw none. Verrou " +
      "keeps a row as a lease does, and needs three statements for a pair, by the client's clock; a failed try is an " +
      "insert that fails, which writes to the log, and an update.",
    ],
    tables: [{ head: ["one caller, Deno", "", "µs, median (quartiles)", "durable upserts"], rows }],
    plots: [{
      name: "pairs",
      title: "One caller: acquire and release",
      axis: "µs, less is better",
      bars: bars.filter(({ kind, label }) =>
        kind !== "single" && !label.endsWith("failed try") && label !== "SQLite round trip"
      ),
    }],
    targets: targetsOf(raw),
    short: {
      question: "acquire and release",
      axis: "ms, one caller; less is better",
      unit: " ms",
      answers: answersOf(raw, ({ median }) => median / 1e3),
    },
  };
}

export const pairs = subject<Raw>({
  name: "pairs",
  async measure({ places }, quick) {
    const rounds = quick ? { rounds: 5, turn: 1, warmUp: 2 } : { rounds: 160, turn: 8, warmUp: 10 };
    await using field = new Field(here, places);
    return await field.compare(lone(places, true), 1, rounds);
  },
  describe,
});
