import type { LockRecord } from "../../mod.ts";
import type { Paint } from "./paint.ts";
import { counted, duration, fitted, visible } from "./text.ts";

/** What a frame shows beside the locks. */
export interface FrameOptions {
  /** Columns of the terminal. */
  readonly columns: number;
  /** Rows of the terminal. */
  readonly rows: number;
  /** Colours. */
  readonly paint: Paint;
  /** What goes wrong at the moment. */
  readonly trouble?: string;
}

const BAR = 10;
const LEFT = 12;
const NARROWEST = 50;

/** The share of the lease that is left, from 0 to 1: of what it had when it was last acquired or renewed. */
function shareLeft(record: LockRecord): number {
  if (record.lockedUntil === null || record.expiresIn === null) return 1;
  const whole = (record.lockedUntil.getTime() - record.updatedAt.getTime()) / 1e3;
  return Math.min(1, Math.max(0, record.expiresIn / whole));
}

function barOf(record: LockRecord, paint: Paint): string {
  const share = shareLeft(record);
  const full = Math.ceil(share * BAR);
  const bar = "#".repeat(full) + "-".repeat(BAR - full);
  const colour = share > 0.5 ? paint.good : share > 0.2 ? paint.warning : paint.bad;
  return `[${colour(bar)}]`;
}

function leftOf(record: LockRecord): string {
  return record.expiresIn === null ? "no expiry" : duration(Math.max(0, record.expiresIn));
}

/** One picture of what is held: as many rows as the terminal has, none wider than it is. */
export function frame(records: readonly LockRecord[], { columns, rows, paint, trouble }: FrameOptions): string[] {
  const width = Math.max(columns, NARROWEST);
  const free = width - LEFT - (BAR + 2) - 3 * 2;
  const nameWidth = Math.ceil(free * 0.55);
  const holderWidth = free - nameWidth;
  const head = `${counted(records.length, "lock")} held   Ctrl-C ends`;
  const heading = [
    fitted("Name", nameWidth),
    fitted("Holder", holderWidth),
    fitted("Time left", BAR + 2 + 2 + LEFT),
  ].join("  ");
  const room = Math.max(1, rows - 4);
  const lines = records.slice(0, records.length > room ? room - 1 : room).map((record) => {
    const holder = record.lockedBy + (record.lockProcess === null ? "" : ` (${record.lockProcess})`);
    return [
      fitted(visible(record.name), nameWidth),
      fitted(visible(holder), holderWidth),
      barOf(record, paint),
      leftOf(record).slice(0, LEFT),
    ].join("  ");
  });
  if (records.length > lines.length) lines.push(paint.faint(`… and ${records.length - lines.length} more`));
  const notice = trouble === undefined ? "" : paint.bad(fitted(visible(trouble), width).trimEnd());
  return [paint.strong(head), notice, paint.faint(heading.trimEnd()), ...lines];
}
