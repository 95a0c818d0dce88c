/**
 * Plots as plain SVG: bars with whiskers from the lower to the upper quartile, on light and dark pages alike.
 *
 * @module
 */
import { type Bar, figure, type Kind, type Plot } from "./section.ts";

/** Colours that stand out from white and from black. */
export const COLOURS: Readonly<Record<Kind, string>> = {
  ours: "#3b82f6",
  single: "#93a8c9",
  floor: "#8b8b8b",
  rival: "#e8833a",
};
const WORDS: Readonly<Record<Kind, string>> = {
  ours: "lockmgr",
  single: "lockmgr, one statement each",
  floor: "floor",
  rival: "rival",
};

/** The width of every drawing. */
export const WIDTH = 860;
/** Where the bars begin and end. */
const [LEFT, RIGHT] = [300, 770];
const [TOP, ROW] = [86, 24];

/** The style of every drawing, for light and dark pages. */
export const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .small { font-size: 11px }
  .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #8b8b8b; stroke-opacity: .3 }
  .whisker { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .whisker { stroke: #e6edf3 } }
`;

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A text, its baseline at `y`. */
export function text(x: number, y: number, words: string, attributes = ""): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(words)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, style: string): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" class="${style}"/>`;
}

/** The powers of ten around all values. */
function decades(bars: readonly Bar[]): number[] {
  const first = Math.floor(Math.log10(Math.min(...bars.map(({ lower }) => lower))));
  const last = Math.ceil(Math.log10(Math.max(...bars.map(({ upper }) => upper))));
  return Array.from({ length: Math.max(last - first, 1) + 1 }, (_, index) => 10 ** (first + index));
}

function drawBar({ label, kind, lower, median, upper }: Bar, index: number, x: (value: number) => number): string {
  const y = TOP + index * ROW, middle = y + ROW / 2 - 2;
  return [
    text(LEFT - 8, middle + 4, label, 'text-anchor="end"'),
    `<rect x="${LEFT}" y="${y}" width="${(x(median) - LEFT).toFixed(1)}" height="${ROW - 6}" rx="2" fill="${
      COLOURS[kind]
    }"/>`,
    line(x(lower), middle, x(upper), middle, "whisker"),
    ...[lower, upper].map((value) => line(x(value), middle - 4, x(value), middle + 4, "whisker")),
    text(x(Math.max(median, upper)) + 6, middle + 4, figure(median), 'class="small"'),
  ].join("\n");
}

function legend(bars: readonly Bar[]): string {
  const kinds = (Object.keys(COLOURS) as Kind[]).filter((kind) => bars.some((bar) => bar.kind === kind));
  let x = LEFT;
  return kinds.map((kind) => {
    const drawn = `<rect x="${x}" y="42" width="12" height="12" rx="2" fill="${COLOURS[kind]}"/>\n` +
      text(x + 18, 53, WORDS[kind]);
    x += 40 + WORDS[kind].length * 7;
    return drawn;
  }).join("\n");
}

/** Draws a plot, its axis logarithmic: what is compared differs by a hundred times. */
export function draw({ title, axis, bars }: Plot): string {
  const ticks = decades(bars);
  const [first, last] = [Math.log10(ticks[0]), Math.log10(ticks.at(-1)!)];
  const x = (value: number) => LEFT + (Math.log10(value) - first) / (last - first) * (RIGHT - LEFT);
  const bottom = TOP + bars.length * ROW;
  const grid = ticks.map((tick) =>
    line(x(tick), TOP - 6, x(tick), bottom, "grid") +
    text(x(tick), TOP - 10, figure(tick), 'class="small" text-anchor="middle"')
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 30}" width="${WIDTH}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    text(16, 24, title, 'class="title"'),
    legend(bars),
    ...grid,
    ...bars.map((bar, index) => drawBar(bar, index, x)),
    text(LEFT, bottom + 18, `${axis}; median, with the quartiles; logarithmic`, 'class="small"'),
    "</svg>",
    "",
  ].join("\n");
}
