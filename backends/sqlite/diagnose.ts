import type { Diagnostic } from "../../core/backend.ts";
import { tableDiagnostic } from "../shared/found_table.ts";
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
    tableDiagnostic(table, () => findTable(database, table)),
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
