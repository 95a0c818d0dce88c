import assert from "node:assert/strict";
import { connect, getLock } from "@lockmgr/lockmgr";
import { test } from "../harness.ts";
import { Place } from "./program.ts";

/** Characters that play with a terminal or hide: C0, DEL, C1, bidi, zero-width, separators, fillers, tags, selectors. */
const HOSTILE =
  "\x1b[2J\x07\x7f\x9b31m\x85\xad\u061c\u200b\u200d\u200e\u202e\u2028\u2029\u2066\ufeff\u180b\u3164\ufff0\u{e0041}\u{e01ef}";
const NAME = `a${HOSTILE}z`;
const INVISIBLE = /[^\P{C}\n]|[\p{Zl}\p{Zp}\u180b\u3164\u{e01ef}]/u;

/** What was printed, which has none of those characters in it. */
function clean(text: string, where: string): string {
  assert.equal(INVISIBLE.exec(text)?.[0].codePointAt(0)?.toString(16), undefined, `${where}: ${JSON.stringify(text)}`);
  return text;
}

test("characters that play with a terminal are escaped wherever a command prints them", async () => {
  await using place = await Place.make();
  await using backend = await connect(place.environment.LOCKMGR_URL);
  await getLock(NAME, { backend, lockedBy: `by${NAME}`, metadata: { [NAME]: NAME } });
  const commands: (readonly string[])[] = [
    ["list_locks"],
    ["list_locks", "--prefix", NAME],
    ["show", NAME],
    ["set_lock", NAME],
    ["renew", NAME, `missing${NAME}`],
    ["wait", NAME, "-w", "0"],
    ["set_lock", "--fail", NAME],
    ["run", NAME, "-n", "--", "true"],
    ["run", "free", "--", NAME],
    ["run", "free", "--grace", NAME, "--", "true"],
    ["reset_locks"],
    ["list_locks", "--url", `/nowhere/${NAME}`],
    ["doctor", "--url", `/nowhere/${NAME}`],
    ["list_locks", "--table", NAME],
    ["completions", NAME],
    [NAME],
    [`--${NAME}`],
  ];
  await Promise.all(
    commands.flatMap((args) => [args, ["--json", "--debug", ...args]]).map(async (args) => {
      const where = JSON.stringify(args);
      const { code, stdout, stderr } = await place.run(args);
      clean(stderr, where);
      if (clean(stdout, where) !== "" && args[0] === "--json") JSON.parse(stdout);
      assert.notEqual(code, null, where);
    }),
  );
  const [record] = await place.json(["list_locks"]);
  assert.deepEqual([record.name, record.lockedBy, record.metadata], [NAME, `by${NAME}`, { [NAME]: NAME }]);
});

test("characters that play with a terminal are escaped on a terminal", async () => {
  await using place = await Place.make();
  await place.run(["set_lock", NAME, "--locked-by", NAME]);
  for (const args of [["list_locks"], ["list_locks", "--json"], ["show", NAME], ["set_lock", "--fail", NAME]]) {
    const { stdout } = await place.onTerminal(args).ended;
    // deno-lint-ignore no-control-regex -- the colours are this program's own
    clean(stdout.replaceAll("\r\n", "\n").replace(/\x1b\[\d+m/g, ""), args.join(" "));
  }
  const watching = place.onTerminal(["watch", "-i", "0.05"]);
  await watching.says(/1 lock held[^]*a\\x1b/);
  watching.process.stdin.write("\x03");
  // deno-lint-ignore no-control-regex -- as above, and what moves the cursor
  clean((await watching.ended).stdout.replace(/\r|\x1b\[\??\d*[a-zA-Z]/g, ""), "watch");
  const lines = place.start(["watch"]);
  await lines.says(/"change":"held"/);
  lines.kill("SIGTERM");
  assert.equal(JSON.parse(clean((await lines.ended).stdout, "watch")).name, NAME);
});
