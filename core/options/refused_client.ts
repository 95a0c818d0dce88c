/**
 * Refuses what is no open transaction of a driver, for `guard`. The message says what to pass instead.
 *
 * @module
 */

type Methods = Record<string, unknown>;

/** Transactions of query builders and ORMs that cannot send a statement as it is, and what to pass in their place. */
const BUILDERS: readonly (readonly [methods: readonly string[], what: string, instead: string])[] = [
  [["then"], "it is a promise", "what it resolves to, as by await"],
  [["raw", "commit", "rollback"], "it is a transaction of Knex", "await trx.client.acquireConnection()"],
  [["executeQuery", "selectFrom"], "it is a transaction of Kysely", "(text, parameters) => trx.executeQuery(…)"],
  [["commit", "rollback", "afterCommit"], "it is a transaction of Sequelize", "transaction.connection"],
  [["select", "insert", "transaction", "rollback"], "it is a transaction of Drizzle", "tx.session.client"],
];

/**
 * Returns the error for a client that cannot be used as it is; `undefined` for one that may be a driver's.
 *
 * @param what What cannot be done, as in `Cannot ${what}`.
 */
export function refuseBuilder(what: string, client: unknown): TypeError | undefined {
  if (client === null || (typeof client !== "object" && typeof client !== "function")) return undefined;
  const found = BUILDERS.find(([methods]) => methods.every((name) => typeof (client as Methods)[name] === "function"));
  return found && new TypeError(`Cannot ${what}: ${found[1]}; want ${found[2]}`);
}

/** Returns the error for a client on which no transaction is open. */
export function refuseClosed(what: string, on: string): TypeError {
  return new TypeError(
    `Cannot ${what}: no transaction is open on ${on}; want the connection on which BEGIN was sent, not a pool`,
  );
}
