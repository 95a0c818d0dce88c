/** A row as the statements return it: numbers as text. Without a row, only the clock is not NULL. */
export interface SqliteRow {
  readonly name: string | null;
  /** The secret of the first holder; `null` while the name is free. */
  readonly owner: string | null;
  /** The first holder's token. */
  readonly token: string;
  /** The highest token of the name. */
  readonly highest: string | null;
  /** The first holder's limit; `null` is 1. */
  readonly slots: string | null;
  /** The other holders and the waiters; `null` for an exclusive lock without waiters. Some drivers parse JSON. */
  readonly line: unknown;
  readonly locked_by: string;
  /** A number for people. */
  readonly lock_process: string | null;
  readonly locked_until: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  /** JSON text. */
  readonly metadata: unknown;
  /** The clock of the statement. */
  readonly now: string;
}
