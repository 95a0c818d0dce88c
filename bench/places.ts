/**
 * Where measured things live, in a form that travels to other processes.
 *
 * @module
 */

/** The engines, in the order of the tables. */
export const engines = ["postgres", "mysql", "mariadb", "sqlite"] as const;

/** An engine. */
export type Engine = typeof engines[number];

/** What people call the engines. */
export const labels: Readonly<Record<Engine, string>> = {
  postgres: "PostgreSQL",
  mysql: "MySQL",
  mariadb: "MariaDB",
  sqlite: "SQLite",
};

/** Addresses of what runs; what is missing is not measured. */
export interface Places {
  /** A directory for files. */
  readonly directory: string;
  /** The path of the SQLite database. */
  readonly sqlite?: string;
  /** The addresses of the servers. */
  readonly postgres?: string;
  readonly mysql?: string;
  readonly mariadb?: string;
  readonly redis?: string;
}

/** The engines that are there. */
export function enginesOf(places: Places): Engine[] {
  return engines.filter((engine) => places[engine] !== undefined);
}
