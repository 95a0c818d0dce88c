/**
 * The picture at the top of the page: one panel for each thing that users want to know.
 *
 * @module
 */
import { figure, type Short } from "./section.ts";
import { COLOURS, STYLE, text, WIDTH } from "./svg.ts";

const COLUMNS = 2;
const PANEL = WIDTH / COLUMNS;
/** Where the bars of a panel begin and end. */
const [LEFT, RIGHT] = [150, PANEL - 60];
const [TOP, ROW, GAP] = [50, 18, 24];
/** The shortest bar, which stands for a tenth of the least figure above 0, and for 0. */
const SHORTEST = 2;

/** The labels of all panels, each with its place: what is compared stands on one height in all of them. */
function labelsOf(shorts: readonly Short[]): string[] {
  return [...new Set(shorts.flatMap(({ answers }) => Object.keys(answers)))];
}

/** Our locks begin with the name of an engine. */
const isOurs = (label: string) => /^(PostgreSQL|MySQL|MariaDB|SQLite) /.test(label);

function drawPanel({ question, axis, answers }: Short, labels: readonly string[], x: number, y: number): string[] {
  const above = Object.values(answers).filter((value) => value > 0);
  const least = Math.log10(Math.min(...above)) - 1, most = Math.log10(Math.max(...above));
  const lengthOf = (value: number) =>
    value > 0 ? Math.max(SHORTEST, (Math.log10(value) - least) / (most - least) * (RIGHT - LEFT)) : SHORTEST;
  return [
    text(x + 16, y + 16, question, 'class="panel"'),
    text(x + 16, y + 34, axis, 'class="small"'),
    ...labels.flatMap((label, index) => {
      const top = y + TOP + index * ROW;
      const value = answers[label];
      const name = text(x + LEFT - 6, top + 11, label, 'class="small" text-anchor="end"');
      if (!Number.isFinite(value)) return [name, text(x + LEFT + 4, top + 11, "–", 'class="small"')];
      const length = lengthOf(value);
      const colour = COLOURS[isOurs(label) ? "ours" : "rival"];
      return [
        name,
        `<rect x="${x + LEFT}" y="${top}" width="${length.toFixed(1)}" height="${ROW - 5}" rx="2" fill="${colour}"/>`,
        text(x + LEFT + length + 5, top + 11, figure(value), 'class="small"'),
      ];
    }),
  ];
}

/** Draws the panels in two columns, each with a logarithmic axis of its own. */
export function drawOverview(shorts: readonly Short[]): string {
  const labels = labelsOf(shorts);
  const height = TOP + labels.length * ROW + GAP;
  const rows = Math.ceil(shorts.length / COLUMNS);
  const panels = shorts.flatMap((short, index) =>
    drawPanel(short, labels, index % COLUMNS * PANEL, Math.floor(index / COLUMNS) * height + 8)
  );
  const total = rows * height + 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${total}" width="${WIDTH}" role="img">`,
    "<title>What a lock costs</title>",
    `<style>${STYLE} .panel { font-weight: 600 }</style>`,
    ...panels,
    text(16, total - 6, "Medians; bars are logarithmic. Orange: other libraries.", 'class="small"'),
    "</svg>",
    "",
  ].join("\n");
}
