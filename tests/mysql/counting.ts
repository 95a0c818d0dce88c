/**
 * What a server was sent, and what it wrote.
 *
 * @module
 */
import type { Place } from "./flavors.ts";

/** Statements that the server was sent while `body` ran, of whatever kind but the one that counts them. */
export async function statements(place: Place, body: () => Promise<void>): Promise<number> {
  // Not `Questions`: that also counts the farewells of connections, which arrive when they like.
  const sent = async () => {
    const rows = await place.ask("SHOW GLOBAL STATUS LIKE 'Com\\_%'");
    const counted = rows.filter(({ Variable_name }) => !/^Com_(show_status|admin_commands)$/.test(Variable_name));
    return counted.reduce((sum, { Value }) => sum + Number(Value), 0);
  };
  const before = await sent();
  await body();
  return await sent() - before;
}

/** The position up to which the server has written its redo log. */
async function written(place: Place): Promise<bigint> {
  const [{ Status }] = await place.ask("SHOW ENGINE INNODB STATUS");
  return BigInt(/Log sequence number\s+(\d+)/.exec(Status)![1]);
}

/** Bytes that the server wrote for a call: the least of many, since it also writes on its own account, once a second. */
export async function writtenBy(place: Place, call: () => Promise<unknown>): Promise<bigint> {
  let least: bigint | undefined;
  for (let round = 0; round < 50 && least !== 0n; round++) {
    const before = await written(place);
    await call();
    const bytes = await written(place) - before;
    if (least === undefined || bytes < least) least = bytes;
  }
  return least!;
}
