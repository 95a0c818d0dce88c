import { adoptLock, connect, describeTarget, getLock, listLocks, printEvents, schemaOf } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import fc from "fast-check";
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { inspect } from "node:util";
import { test } from "../harness.ts";

/** What is looked for in everything that can be seen; no driver, path or message has it by itself. */
const SECRET = "zqSECRETqz";

/** A port on which nothing listens. */
const CLOSED = "127.0.0.1:1";

/** Characters that mean something in a URL, a path or a shell. */
const SPECIAL = [
  "",
  "#",
  "/",
  "?",
  "@",
  ":",
  "%",
  "%zz",
  "%40",
  "\\",
  " ",
  "&",
  "=",
  "'",
  '"',
  "+",
  "[",
  "]",
  ";",
  "ü",
  "-",
  "(",
  "\ud800",
];

/** Everything that an error shows, its causes included. */
function textOf(error: unknown, seen = new Set<unknown>()): string {
  if (!(error instanceof Error) || seen.has(error)) return typeof error === "object" ? inspect(error) : String(error);
  seen.add(error);
  const fields = Object.getOwnPropertyNames(error).map((key) =>
    inspect((error as unknown as Record<string, unknown>)[key])
  );
  const inner = error instanceof AggregateError ? error.errors.map((each) => textOf(each, seen)) : [];
  return [
    String(error),
    inspect(error, { depth: 9 }),
    JSON.stringify(error),
    ...fields,
    ...inner,
    textOf(error.cause, seen),
  ]
    .join("\n");
}

/** Collects what is printed and warned of meanwhile. */
async function seen(run: () => Promise<void>): Promise<string> {
  const texts: string[] = [];
  const methods = ["log", "info", "warn", "error", "debug"] as const;
  const kept = methods.map((method) => console[method]);
  const onWarning = (warning: Error) => texts.push(textOf(warning));
  process.on("warning", onWarning);
  for (const method of methods) console[method] = (...values: unknown[]) => void texts.push(inspect(values));
  try {
    await run();
  } catch (error) {
    texts.push(textOf(error));
  } finally {
    methods.forEach((method, index) => console[method] = kept[index]);
    process.off("warning", onWarning);
  }
  return texts.join("\n");
}

/** Templates in which `{}` is where a secret stands. */
const PLACES = [
  ...["postgres", "postgresql", "mysql", "mariadb"].flatMap((scheme) => [
    `${scheme}://u:{}@${CLOSED}/d`,
    `${scheme}://{}@${CLOSED}/d`,
    `${scheme}://{}:pw@${CLOSED}/d`,
    `${scheme}://u:{}@[::1]:1/d`,
    `${scheme}://u:pw@${CLOSED}/d?password={}`,
    `${scheme}://u:pw@${CLOSED}/d?user={}`,
    `${scheme}://u:pw@${CLOSED}/d?ssl={}`,
    `${scheme}://u:pw@${CLOSED}/d?sslmode={}`,
    `${scheme}://u:pw@${CLOSED}/d?sslkey={}`,
    `${scheme}://u:pw@${CLOSED}/d?connect_timeout={}`,
    `${scheme}://u:pw@${CLOSED}/d?charset={}`,
    `${scheme}://u:pw@${CLOSED}/d?timezone={}`,
    `${scheme}://u:pw@${CLOSED}/d?schema={}`,
    `${scheme}://u:pw@${CLOSED}/d?unknown={}`,
    `${scheme}://u:pw@${CLOSED}/d?lockmgr_mode={}`,
    `${scheme}://u:pw@${CLOSED}/d?lockmgr_migrate={}`,
    `${scheme}://u:pw@${CLOSED}/d#{}`,
    `${scheme}:u:{}@${CLOSED}/d`,
    `${scheme}//u:{}@${CLOSED}/d`,
    `jdbc:${scheme}://${CLOSED}/d?user=u&password={}`,
  ]),
  `mysql://u:pw@${CLOSED}/d?socketPath={}`,
  `postgres://u:pw@${CLOSED}/d?application_name={}`,
  `postgres://u:pw@${CLOSED}/d?options={}`,
  `postgres://u:pw@${CLOSED}/d?target_session_attrs={}`,
  `postgres://u:{}@${CLOSED},${CLOSED}/d`,
  "sqlite://u:{}@h/x.db",
  "sqlite:x.db?key={}",
  "sqlite:x.db?lockmgr_mode={}",
  "sqlite:x.db?driver={}",
  "sqlite:x.db#{}",
  "file:x.db?key={}",
  "file://u:{}@h/x.db",
  "./x.db?key={}",
  "redis://u:{}@h/1",
  "host=127.0.0.1 port=1 user=u password={} dbname=d",
  "host=127.0.0.1 port=1 user={}",
  "host = '127.0.0.1' password = '{}'",
  "Server=127.0.0.1;Port=1;Uid=u;Pwd={};",
  "PGPASSWORD={}",
  "LOCKMGR_URL=postgres://u:{}@h/d",
  "u:{}@tcp(127.0.0.1:1)/d",
  "user:{}@tcp(127.0.0.1:1)/d",
  "user:{}@h/d",
  "//u:{}@h/d",
  "\\\\u:{}@h\\d",
  "mysql -u u -p{} d",
  "psql postgres://u:{}@h/d",
  '{"host":"h","password":"{}"}',
  "password: {}",
];

/** Ways in which a whole target is spelled otherwise. */
const SPELLINGS: readonly ((target: string) => string)[] = [
  (target) => target,
  (target) => ` ${target}\n`,
  (target) => `"${target}"`,
  (target) => `'${target}'`,
  (target) => `<${target}>`,
  (target) => `${target}"`,
  (target) => `\u200b${target}\ufeff`,
  (target) => target.replace(/^\w+/, (scheme) => scheme.toUpperCase()),
  (target) => target.replace("://", ":\\\\"),
  (target) => target.replace("://", ":/"),
  (target) => target.replace("://", "%3A%2F%2F"),
  (target) => target.replace("://", "：／／"),
  (target) => target.replace("://", ":\n//"),
  (target) => target.replace("@", "\n@"),
  (target) => encodeURIComponent(target.replace(/\p{Surrogate}/gu, "")),
];

const secrets = fc.tuple(fc.constantFrom(...SPECIAL), fc.constantFrom(...SPECIAL), fc.boolean()).map(
  ([before, after, encoded]) =>
    encoded ? encodeURIComponent((before + SECRET + after).replace(/\p{Surrogate}/gu, "")) : before + SECRET + after,
);
const secretsOfOnePart = secrets.filter((secret) => !secret.startsWith(`&${SECRET}=`)); // that is a parameter's name
const targets = fc.tuple(fc.constantFrom(...PLACES), secretsOfOnePart, fc.constantFrom(...SPELLINGS)).map(
  ([place, secret, spelled]) => spelled(place.replace("{}", () => secret)),
);

/** Tries a target in every function that takes one. */
async function tryAll(target: string): Promise<string> {
  const functions = [connect, postgresBackend, mysqlBackend, sqliteBackend, schemaOf, describeTarget]
    .filter((each) => each !== schemaOf || !target.includes("schema=")); // its statements name the schema
  const options = { sessionTimeout: 5 };
  let all = "";
  for (const open of functions) {
    all += await seen(async () => {
      const opened = await (open as typeof connect)(target, open === connect ? options : {});
      if (typeof opened === "string") return console.log(opened);
      await opened[Symbol.asyncDispose]();
    });
  }
  return all;
}

test("secrets: no spelling of a target shows its user, password or values, nor makes a file of that name", async () => {
  const before = await readdir(".");
  await fc.assert(
    fc.asyncProperty(targets, async (target) => {
      const text = await tryAll(target);
      assert(!text.includes(SECRET), `${target}\n${text}`);
    }),
    { numRuns: Number(process.env.LOCKMGR_FUZZ_RUNS ?? 400) },
  );
  assert.deepEqual((await readdir(".")).filter((name) => !before.includes(name)), []);
});

test("secrets: each place is safe for a password as it was typed, with its characters unescaped", async () => {
  for (const place of PLACES) {
    for (
      const password of [
        SECRET,
        `p#${SECRET}`,
        `p/${SECRET}`,
        `p?${SECRET}`,
        `?${SECRET}=`,
        ...place.includes("{}@") ? [`?p=1&${SECRET}=`] : [],
        `p@${SECRET}`,
        `p:${SECRET}`,
        `${SECRET}/p`,
      ]
    ) {
      const target = place.replace("{}", () => password);
      const printing = printEvents();
      const text = await seen(async () => void await (await connect(target))[Symbol.asyncDispose]());
      printing[Symbol.dispose]();
      assert(!text.includes(SECRET), `${target}\n${text}`);
      assert.doesNotMatch(text, /URIError/, target);
    }
  }
});

test("secrets: the text of a detached lock is in no event, error or inspection", async () => {
  const printing = printEvents();
  const texts: string[] = [];
  const text = await seen(async () => {
    await using backend = await connect("sqlite::memory:");
    for (let round = 0; round < 2; round++) {
      const lock = await getLock("a", { backend });
      texts.push(lock.detach());
      const adopted = await adoptLock(texts.at(-1)!, { backend });
      console.log(lock, lock.signal.reason, backend, adopted, await listLocks({ backend }));
      for (const error of await Promise.allSettled([lock.renew(), adoptLock(texts.at(-1)!, { backend })])) {
        console.log(textOf((error as PromiseRejectedResult).reason));
      }
      await adopted.unlock();
    }
    await adoptLock(`${texts[0]}%`, { backend }); // malformed
  });
  printing[Symbol.dispose]();
  assert.match(text, /release \\?"a\\?": detached after .*acquire \\?"a\\?": granted/s);
  assert.match(text, /Cannot adopt lock \\?"a\\?": it was adopted before.*want the text that detach\(\) returned/s);
  for (const [, owner] of texts.map((each) => each.split("."))) assert(!text.includes(owner), text);
});
