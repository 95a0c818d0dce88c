import type { LockRef } from "../../../core/backend.ts";
import { ownerText } from "../../../core/util/requests.ts";
import type { RowParts } from "./row_parts.ts";
import { inChunks, SHORT_LEASE_US } from "./statements.ts";

/** Releases the locks that are held, and returns which were. */
export async function release(parts: RowParts, what: string, targets: readonly LockRef[]): Promise<boolean[]> {
  const { connection } = parts;
  if (targets.length > 1 && targets.every(({ owner, keep }) => typeof owner === "string" && keep === undefined)) {
    const all = await connection.write(what, "NORMAL", () => releaseMany(parts, targets), (all) => all);
    if (all) return targets.map(() => true);
  }
  const short = await connection.write(what, "NORMAL", () => {
    return targets.map((target) => releaseOne(parts, target, SHORT_LEASE_US));
  });
  const others = targets.filter((_, index) => short[index] === undefined);
  if (others.length === 0) return short as boolean[];
  const durably = await connection.write(what, "FULL", () => others.map((target) => releaseOne(parts, target)));
  const rest = durably.values();
  return short.map((released) => released ?? rest.next().value!);
}

/** Returns `false`, to be undone, when not all are short leases without a line: a count does not say which are. */
function releaseMany({ connection, sql }: RowParts, targets: readonly LockRef[]): boolean {
  return inChunks(targets).every((chunk) => {
    const claims = [...chunk.map(({ name }) => name), ...chunk.map(({ name, owner }) => `${owner}\0${name}`)];
    return connection.run(sql.releaseMany(chunk.length), ...claims) === chunk.length;
  });
}

/**
 * Releases one lock. Leases with at most `most` left need not reach the disk: a power failure that undoes the release
 * leaves a lock that expires soon, and with it undoes what was granted to a waiter, who has not confirmed it.
 */
function releaseOne({ connection, sql, queue }: RowParts, target: LockRef, most = Infinity): boolean | undefined {
  if (target.keep !== undefined) return queue.release(target, most);
  const freed = connection.run(sql.release, target.name, ownerText(target.owner), most) > 0;
  return freed || queue.release(target, most);
}
