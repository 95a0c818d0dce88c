/**
 * Django from Debian, with the Python that it needs: nothing of the machine is used, nothing is installed.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { commandIn, unpack } from "./debian.ts";

/** Starts a Python program that has Django and its drivers for servers at hand, with pipes for what it says and is told. */
export async function startDjango(script: string, parameters: readonly string[]): Promise<ChildProcess> {
  const prefix = await unpack({
    suite: "bookworm",
    packages: ["python3-django", "python3-mysqldb", "python3-psycopg2"],
  });
  const [loader, flag, libraries, python] = await commandIn(prefix, "usr/bin/python3");
  const env = {
    ...process.env,
    PYTHONHOME: join(prefix, "usr"),
    PYTHONDONTWRITEBYTECODE: "1",
    // What lets it in at MySQL is a plugin of the client's library, which looks for it where Debian installs it.
    MARIADB_PLUGIN_DIR: join(libraries.split(":")[0], "libmariadb3/plugin"),
  };
  return spawn(loader, [flag, libraries, python, "-s", script, ...parameters], {
    env,
    stdio: ["pipe", "pipe", "inherit"],
  });
}
