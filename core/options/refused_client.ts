/**
 * Refuses what is no open transaction of a driver, for `guard`. The message says what to pass instead.
 *
 * @module
 */

type Methods = Record<string, unknown>;

/** Transactions of query builders and ORMs that cannot send a statement as it is, and what to pass in their place. */
const BUILDERS: readonly (readonly [methods: readonly string[], what: string, instead: string])[] = [
  [["then"], "it is a promise", "what it resolves to, as by await"],
  [
    ["raw", "queryBuilder", "commit", "rollback"],
    "it is a transaction of Knex",
    "await trx.client.acquireConnection()",
  ],
  [["executeQuery", "selectFrom"], "it is a transaction of Kysely", "(text, parameters) => trx.executeQuery(…)"],
  [["commit", "rollback", "afterCommit"], "it is a transaction of Sequelize", "transaction.connection"],
  [["select", "insert", "transaction", "rollback"], "it is a transaction of Drizzle", "tx.session.client"],
  [
    ["$queryRawUnsafe"],
    "it is a transaction of Prisma",
    "(text, parameters) => tx.$queryRawUnsafe(text, ...parameters)",
  ],
];

/**
 * Returns the error for a client that cannot be used as it is; `undefined` for one that may be a driver's.
 *
 * @param what What cannot be done, as in `Cannot ${what}`.
 */
export function refuseBuilder(what: string, client: unknown): TypeError | undefined {
  const found = BUILDERS.find(([methods]) => hasMethods(client, methods));
  return found && new TypeError(`Cannot ${what}: ${found[1]}; want ${found[2]}`);
}

/** Query builders and ORMs, which send statements in ways of their own. */
const ORMS: readonly (readonly [methods: readonly string[], name: string])[] = [
  [["raw", "queryBuilder"], "Knex"],
  [["executeQuery", "selectFrom"], "Kysely"],
  [["select", "insert", "transaction"], "Drizzle"],
  [["authenticate", "define", "query"], "Sequelize"],
  [["createQueryRunner", "getRepository"], "TypeORM"],
  [["$queryRawUnsafe"], "Prisma"],
  [["getMetadata", "isConnected"], "MikroORM"],
];

/** Returns the error for an ORM in the place of a database; `undefined` for what may be a driver's. */
export function refuseOrm(what: string, target: unknown, wanted: string): TypeError | undefined {
  const found = ORMS.find(([methods]) => hasMethods(target, methods));
  return found && new TypeError(`Cannot ${what}: it is an instance of ${found[1]}; want ${wanted}`);
}

/** Whether a value has all of the methods. */
export function hasMethods(value: unknown, methods: readonly string[]): boolean {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return false;
  return methods.every((name) => typeof (value as Methods)[name] === "function");
}

/** Whether a value is an instance of Bun's own `SQL`, which looks like one of postgres.js and serves several engines. */
export function isBunSql(value: unknown): boolean {
  return hasMethods(value, ["unsafe", "begin"]) && "adapter" in ((value as { options?: object }).options ?? {});
}

/** Returns the error for a client on which no transaction is open. */
export function refuseClosed(what: string, on: string): TypeError {
  return new TypeError(
    `Cannot ${what}: no transaction is open on ${on}; want the connection on which BEGIN was sent, not a pool`,
  );
}
