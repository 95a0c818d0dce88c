/**
 * Draws what `lockmgr watch` shows: `deno task watch-picture` lets processes hold locks and wait for them on a private
 * PostgreSQL, runs the command on a terminal, and writes its last frame to `docs/command-line/watch.svg`.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Place } from "../tests/cli/program.ts";
import { PostgresServer } from "../tests/servers/postgres.ts";
import { escaped } from "./dashboard_svg.ts";

const FILE = "docs/command-line/watch.svg";
const [COLUMNS, ROWS] = [100, 10];
/** How long the locks are held when the frame is drawn (s): one that is not renewed is then nearly over. */
const HELD_FOR_S = 24;
/** The holder of each name, and the processes that wait for it. */
const LOAD = [
  { name: "deploy", lease: 120, holder: "ci-3", waiters: ["ci-1"] },
  { name: "leader", lease: 20, holder: "web-2", waiters: [] },
  { name: "report:daily", lease: 60, holder: "worker-1", waiters: ["worker-2", "worker-3"] },
];
/** A character, the space around the text, and the bar above it (px). */
const [WIDTH, HEIGHT, MARGIN, BAR] = [8, 20, 16, 30];
/** The classes of what the command colours, by SGR code. */
const CLASSES: Readonly<Record<string, string>> = { 1: "strong", 2: "faint", 31: "bad", 32: "good", 33: "warning" };

const STYLE = `
  .window { fill: #f6f8fa; stroke: #d0d7de }
  .button { fill: #d0d7de }
  text { font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #24292f; white-space: pre }
  .strong { font-weight: 700 }
  .faint { fill: #6e7781 }
  .good { fill: #1a7f37 }
  .warning { fill: #9a6700 }
  .bad { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    .window { fill: #161b22; stroke: #30363d }
    .button { fill: #30363d }
    text { fill: #e6edf3 }
    .faint { fill: #8b949e }
    .good { fill: #3fb950 }
    .warning { fill: #d29922 }
    .bad { fill: #f85149 }
  }
`;

/** Runs the command on a terminal and returns the lines that it draws first. */
async function frameOf(place: Place): Promise<string[]> {
  const script = `exec script -qefc "stty cols ${COLUMNS} rows ${ROWS}; exec $*" /dev/null`;
  const watching = place.inShell(script, ["watch"], { SHELL: "/bin/sh" });
  // deno-lint-ignore no-control-regex -- a terminal is told by escapes
  const [, frame] = await watching.says(/\x1b\[H([^]*)\x1b\[J/);
  return frame.replaceAll("\x1b[2K", "").split("\r\n");
}

/** Lets the processes hold and wait until the command is run. */
async function look(): Promise<string[]> {
  await using server = await PostgresServer.start();
  await using place = await Place.make(`${server.url}?lockmgr_mode=hybrid`);
  for (const who of ["holder", "waiters"] as const) {
    for (const { name, lease, [who]: hosts } of LOAD) {
      for (const host of [hosts].flat()) {
        place.start(["run", name, "-t", String(lease), "--locked-by", host, "--", "cat"]);
      }
    }
    await pause(HELD_FOR_S * 500);
    if (who === "holder") await place.run(["set", "maintenance", "-t", "30", "--locked-by", "alice"]);
  }
  await pause(HELD_FOR_S * 500);
  return await frameOf(place);
}

/** A line with its colours as spans, each at its column: fonts differ in the width of a character. */
function textOf(line: string, y: number): string {
  let column = 0, style = "";
  const spans: string[] = [];
  // deno-lint-ignore no-control-regex -- a terminal is told by escapes
  for (const [, code, text] of line.matchAll(/\x1b\[(\d+)m|([^\x1b]+)/g)) {
    if (code !== undefined) style = CLASSES[code] ?? "";
    for (const { 0: word, index } of (text ?? "").matchAll(/\S+(?: \S+)*/g)) {
      const x = MARGIN + (column + index) * WIDTH;
      spans.push(
        `<tspan x="${x}" textLength="${word.length * WIDTH}"${style && ` class="${style}"`}>${escaped(word)}</tspan>`,
      );
    }
    column += text?.length ?? 0;
  }
  return `<text y="${y}">${spans.join("")}</text>`;
}

function draw(lines: readonly string[]): string {
  const width = COLUMNS * WIDTH + 2 * MARGIN;
  const height = BAR + lines.length * HEIGHT + MARGIN;
  const buttons = [0, 1, 2].map((at) => `<circle class="button" cx="${20 + at * 18}" cy="18" r="5"/>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" role="img">
<title>lockmgr watch</title>
<style>${STYLE}</style>
<rect class="window" x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8"/>
${buttons.join("")}
${lines.map((line, index) => textOf(line, BAR + (index + 1) * HEIGHT)).join("\n")}
</svg>
`;
}

const lines = await look();
await mkdir(dirname(FILE), { recursive: true });
await writeFile(FILE, draw(lines));
console.log(lines.join("\n"));
