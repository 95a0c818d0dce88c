/** Ends with an idle connection open, after an answer that it had to wait for. */
import process from "node:process";
import { openConnection, send, setKeepAlive } from "../../backends/mysql/connection/driver.ts";

const connection = await openConnection({ uri: process.argv[2] }, new AbortController().signal);
setKeepAlive(connection, false);
setKeepAlive(connection, true);
send(connection, "SELECT SLEEP(0.2) + 1").then(({ rows }) => {
  console.log(Number(rows[0][0]));
  setKeepAlive(connection, false);
});
