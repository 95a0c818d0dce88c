/**
 * What is tried of each ORM: the lines of docs/orms.md.
 *
 * @module
 */
import type { Backend, Lock } from "@lockmgr/lockmgr";

/** A kind of database. */
export type Engine = "postgres" | "mysql" | "mariadb" | "sqlite";

/** An ORM on one database. */
export interface Cell extends AsyncDisposable {
  /** Opens a backend through the ORM. */
  backend(): Promise<Backend>;
  /** Guards a transaction of the ORM; `guarded` is called before it ends. */
  guard(lock: Lock, guarded: () => Promise<void>): Promise<void>;
  /** The same where no transaction is open. */
  guardOutside(lock: Lock): Promise<void>;
  /** Opens a transaction that every statement of the ORM joins by itself. */
  inTransaction?(body: () => Promise<void>): Promise<void>;
}

/** An ORM. */
export interface Orm {
  /** Its name. */
  readonly name: string;
  /** Opens it on the database of an engine. */
  readonly engines: Partial<Record<Engine, (url: string) => Promise<Cell>>>;
}
