import { fitted, widthOf } from "./text.ts";

/** Rows under headings, each column as wide as its widest cell; a rule beneath the headings. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(row[column])))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => fitted(cell, widths[column])).join("  ").trimEnd();
  return [line(headings), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)].join("\n");
}
