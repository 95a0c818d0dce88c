import type { LockActivity, LockRecord } from "../../mod.ts";
import { peerOf } from "./details.ts";
import type { Paint } from "./paint.ts";
import { holderOf } from "./record.ts";
import { counted, duration, fitted, visible } from "./text.ts";

/** The result of one query. */
export interface Look {
  /** What is held. */
  readonly records: readonly LockRecord[];
  /** The connections of holders and waiters by name, where the server lists them. */
  readonly seen?: ReadonlyMap<string, LockActivity>;
  /** Why the connections are unknown. */
  readonly trouble?: string;
}

/** How a frame is drawn. */
interface FrameOptions {
  readonly columns: number;
  readonly rows: number;
  readonly paint: Paint;
  /** The error of the last query. */
  readonly trouble?: string;
}

/** One column: what it shows of a lock is cut or filled to its width, colours apart. */
interface Column {
  readonly heading: string;
  readonly width: number;
  readonly cell: (record: LockRecord) => string;
  /** Colours what was fitted. */
  readonly colour?: (text: string, record: LockRecord) => string;
}

/** Marks of the bar. */
const BAR = 10;
/** The longest time that is usual: `23 h 59 min`. */
const TIME = 11;
/** A narrower terminal is drawn as if it had so many columns, and cuts the rest off. */
const NARROWEST = 40;
/** Names and holders have at least so many columns together before anything else is shown but the time. */
const WORTH = 38;
const GAP = 2;

/** The share of the lease that is left, from 0 to 1: of what it had when it was last acquired or renewed. */
function shareLeft(record: LockRecord): number {
  if (record.lockedUntil === null || record.expiresIn === null) return 1;
  const whole = (record.lockedUntil.getTime() - record.updatedAt.getTime()) / 1e3;
  return Math.min(1, Math.max(0, record.expiresIn / whole));
}

function barOf(record: LockRecord): string {
  const full = Math.ceil(shareLeft(record) * BAR);
  return `[${"#".repeat(full)}${"-".repeat(BAR - full)}]`;
}

function leftOf(record: LockRecord): string {
  return record.expiresIn === null ? "no expiry" : duration(Math.max(0, record.expiresIn));
}

/** The columns beside name and holder: those of the most worth, as many as there is room for. */
function furtherColumns(room: number, { records, seen }: Look, paint: Paint): Column[] {
  const colour = (text: string, record: LockRecord) => {
    const share = shareLeft(record);
    const by = share > 0.5 ? paint.good : share > 0.2 ? paint.warning : paint.bad;
    return `[${by(text.slice(1, -1))}]`;
  };
  const waiting = (record: LockRecord) => seen?.get(record.name)?.waiters?.length ?? record.waiters;
  const waits = { heading: "Waiting", width: 7, cell: (record: LockRecord) => String(waiting(record) || "") };
  const held = { heading: "Held for", width: TIME, cell: (record: LockRecord) => duration(Math.max(0, record.age)) };
  const left = { heading: "Time left", width: TIME, cell: leftOf };
  const bar = { heading: "", width: BAR + 2, cell: barOf, colour };
  const session = {
    heading: "Session",
    width: 28,
    cell: ({ name }: LockRecord) => (seen?.get(name)?.holders ?? []).map(peerOf).join(", "),
  };
  const token = { heading: "Token", width: 16, cell: (record: LockRecord) => String(record.token) };
  const byWorth: (Column | false)[] = [
    left,
    records.some((record) => waiting(record) > 0) && waits,
    held,
    bar,
    records.some(({ name }) => seen?.get(name)?.holders.length) && session,
    token,
  ];
  const chosen = new Set<Column>();
  for (const column of byWorth) {
    if (column === false || (chosen.size > 0 && room - column.width - GAP < WORTH)) continue;
    chosen.add(column);
    room -= column.width + GAP;
  }
  return [held, left, bar, waits, session, token].filter((column) => chosen.has(column));
}

/** Name and holder share what the other columns leave. */
function columnsFor(width: number, look: Look, paint: Paint): Column[] {
  const further = furtherColumns(width - GAP, look, paint);
  const free = width - GAP - further.reduce((sum, column) => sum + column.width + GAP, 0);
  const name = Math.ceil(free * 0.55);
  return [
    { heading: "Name", width: name, cell: (record) => record.name },
    { heading: "Holder", width: free - name, cell: (record) => holderOf(record) },
    ...further,
  ];
}

/** Draws the locks that are held in the rows and columns of the terminal. */
export function frame(look: Look, { columns, rows, paint, trouble }: FrameOptions): string[] {
  const { records } = look;
  const width = Math.max(columns, NARROWEST);
  const shown = columnsFor(width, look, paint);
  const gap = " ".repeat(GAP);
  const heading = shown.map((column) => fitted(column.heading, column.width)).join(gap).trimEnd();
  const room = Math.max(1, rows - 4);
  const lines = records.slice(0, records.length > room ? room - 1 : room).map((record) => {
    const cells = shown.map(({ cell, width, colour = (text) => text }) => {
      return colour(fitted(visible(cell(record)), width), record);
    });
    return cells.join(gap).trimEnd();
  });
  if (records.length > lines.length) lines.push(paint.faint(`… and ${records.length - lines.length} more`));
  const head = `${counted(records.length, "lock")} held   Ctrl-C ends`;
  const notice = trouble === undefined ? "" : paint.bad(fitted(visible(trouble), width).trimEnd());
  return [paint.strong(head), notice, paint.faint(heading), ...lines];
}
