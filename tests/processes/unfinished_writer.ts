/** Is in the middle of taking three locks at once when it is killed. */
import process from "node:process";
import { DatabaseSync } from "node:sqlite";

const database = new DatabaseSync(process.argv[2]);
database.exec("BEGIN IMMEDIATE");
for (const name of ["b", "c", "d"]) {
  database.prepare(
    `INSERT INTO lockmgr_locks (name, owner, token, locked_by, created_at, updated_at) VALUES (?, 'x', 1, 'x', 0, 0)`,
  ).run(name);
}
console.log(JSON.stringify("inside"));
setInterval(() => {}, 1_000);
