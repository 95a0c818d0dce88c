/** One plot over time. */
export interface Panel {
  readonly title: string;
  readonly logarithmic?: boolean;
  /** Points as `[second, value]`, by the name of their line. */
  readonly lines: Readonly<Record<string, readonly (readonly [number, number])[]>>;
}

const COLOURS = ["#e8833a", "#3b82f6", "#8b8b8b"];
const [WIDTH, HEIGHT] = [470, 250];
/** The plot within its panel. */
const [LEFT, RIGHT, TOP, BOTTOM] = [48, WIDTH - 16, 62, HEIGHT - 28];

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 14px; font-weight: 600 }
  .grid { stroke: #8b8b8b; stroke-opacity: .3 }
  polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
`;

/** Makes a text safe within SVG. */
export function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The values at which lines are drawn across. */
function ticksOf(values: readonly number[], logarithmic: boolean): number[] {
  const most = Math.max(...values, 1);
  if (!logarithmic) {
    const rough = Math.max(most / 4, 1);
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((step) => step >= rough)!;
    return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
  }
  const [first, last] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(most))];
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

/** The pieces of a line between its gaps. */
function piecesOf(points: readonly (readonly [number, number])[]): (readonly [number, number])[][] {
  const pieces: (readonly [number, number])[][] = [[]];
  for (const point of points) {
    if (Number.isFinite(point[1])) pieces.at(-1)!.push(point);
    else pieces.push([]);
  }
  return pieces.filter(({ length }) => length > 0);
}

function drawPanel({ title, logarithmic = false, lines }: Panel, duration: number): string {
  const values = Object.values(lines).flatMap((points) => points.map(([, value]) => value)).filter(Number.isFinite);
  const ticks = ticksOf(values, logarithmic);
  const scale = (value: number) => logarithmic ? Math.log10(Math.max(value, ticks[0])) : value;
  const x = (second: number) => (LEFT + second / duration * (RIGHT - LEFT)).toFixed(1);
  const y = (value: number) => {
    const share = (scale(value) - scale(ticks[0])) / (scale(ticks.at(-1)!) - scale(ticks[0]));
    return (BOTTOM - share * (BOTTOM - TOP)).toFixed(1);
  };
  let legendAt = LEFT;
  const drawn = [`<text x="16" y="24" class="title">${escaped(title)}</text>`];
  for (const tick of ticks) {
    drawn.push(`<line x1="${LEFT}" x2="${RIGHT}" y1="${y(tick)}" y2="${y(tick)}" class="grid"/>`);
    drawn.push(`<text x="${LEFT - 6}" y="${Number(y(tick)) + 4}" text-anchor="end">${tick}</text>`);
  }
  for (let second = 0; second <= duration; second += 5) {
    drawn.push(`<text x="${x(second)}" y="${BOTTOM + 18}" text-anchor="middle">${second} s</text>`);
  }
  for (const [index, [name, points]] of Object.entries(lines).entries()) {
    const colour = COLOURS[index % COLOURS.length];
    const words = name.length > 27 ? `${name.slice(0, 26)}…` : name;
    drawn.push(`<rect x="${legendAt}" y="36" width="10" height="10" rx="2" fill="${colour}"/>`);
    drawn.push(`<text x="${legendAt + 15}" y="45">${escaped(words)}</text>`);
    legendAt += 32 + words.length * 6;
    for (const piece of piecesOf(points)) {
      const path = piece.map(([second, value]) => `${x(second)},${y(value)}`).join(" ");
      drawn.push(`<polyline points="${path}" stroke="${colour}"/>`);
    }
  }
  return drawn.join("\n");
}

/** Draws the panels in two columns. */
export function drawDashboard(panels: readonly Panel[], duration: number): string {
  const [width, height] = [2 * WIDTH, Math.ceil(panels.length / 2) * HEIGHT];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" role="img">`,
    "<title>Waits, acquisitions, holds and losses of locks over time</title>",
    `<style>${STYLE}</style>`,
    ...panels.map((panel, index) =>
      `<g transform="translate(${index % 2 * WIDTH} ${Math.floor(index / 2) * HEIGHT})">\n${
        drawPanel(panel, duration)
      }\n</g>`
    ),
    "</svg>",
    "",
  ].join("\n");
}
