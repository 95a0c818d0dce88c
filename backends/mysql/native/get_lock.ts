/** What stands for ever: a year, in seconds. */
const FOR_EVER = 31_536_000;

/** Waits for a lock. MySQL rounds the seconds of GET_LOCK, so that the statement's own limit has to end the wait. */
export function getLock(name: string, seconds: number, kind: "mysql" | "mariadb"): string {
  const limit = Math.min(seconds, FOR_EVER);
  if (kind === "mariadb" || Number.isInteger(limit)) return `SELECT GET_LOCK(${name}, ${limit})`;
  const milliseconds = Math.max(1, Math.round(limit * 1e3));
  return `SELECT /*+ MAX_EXECUTION_TIME(${milliseconds}) */ GET_LOCK(${name}, ${Math.ceil(limit) + 1})`;
}
