import type { Diagnostic } from "../../core/backend.ts";
import type { Connection } from "./connection/connection.ts";
import { findTable } from "./schema.ts";

/** The first column of the first row. */
function valueOf(database: Connection, sql: string): string {
  return String(Object.values((database.prepare(sql).get() ?? {}) as object)[0]);
}

/** Diagnoses an SQLite database. */
export function diagnose(database: Connection, table: string): Diagnostic[] {
  return [
    { what: "version", state: "ok", detail: `SQLite ${valueOf(database, "SELECT sqlite_version()")}` },
    journal(valueOf(database, `PRAGMA ${database.atHome("journal_mode")}`)),
    tableThere(database, table),
  ];
}

/** Without a write-ahead log readers and a writer block each other (https://sqlite.org/wal.html). */
function journal(mode: string): Diagnostic {
  const what = "journal";
  if (mode === "wal" || mode === "memory") return { what, state: "ok", detail: `mode "${mode}"` };
  const advice =
    'Put the file on a local disk: without "wal", as on a network file system, programs wait for each other';
  return { what, state: "warning", detail: `mode "${mode}" instead of "wal"`, advice };
}

function tableThere(database: Connection, table: string): Diagnostic {
  const what = "table";
  const name = JSON.stringify(table);
  try {
    const found = findTable(database, table);
    if (found === "present") return { what, state: "ok", detail: `${name} is there, with the columns it needs` };
    if (found === "old") {
      return { what, state: "note", detail: `${name} is of an earlier version: the first use upgrades it` };
    }
  } catch (error) {
    return { what, state: "problem", detail: (error as Error).message, advice: "Choose another one with --table" };
  }
  return { what, state: "note", detail: `${name} is not there yet: the first use creates it` };
}
