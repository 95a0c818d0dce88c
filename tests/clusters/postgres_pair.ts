/**
 * A PostgreSQL primary with a standby, of which the standby can be promoted while the old primary goes on, hangs or is
 * gone.
 *
 * @module
 */
import process from "node:process";
import { administrator, until } from "../postgres/server.ts";
import type { PostgresServer } from "../servers/postgres.ts";
import { processesIn } from "../servers/tools.ts";
import type { Failure } from "./failures.ts";

/** A primary and its standby. */
export class PostgresPair implements AsyncDisposable {
  /** The server that takes writes. */
  readonly primary: PostgresServer;
  /** The server that follows it. */
  readonly standby: PostgresServer;
  #stopped: number[] = [];

  private constructor(primary: PostgresServer, standby: PostgresServer) {
    this.primary = primary;
    this.standby = standby;
  }

  /** Adds a standby to a primary; every commit waits for it if it is `synchronous`. */
  static async of(primary: PostgresServer, synchronous = true): Promise<PostgresPair> {
    const pair = new PostgresPair(primary, await primary.replica());
    await using sql = administrator(primary.url);
    if (synchronous) {
      await sql.unsafe("ALTER SYSTEM SET synchronous_standby_names = '*'");
      await sql.unsafe("SELECT pg_reload_conf()");
    }
    const wanted = synchronous ? "sync" : "async";
    await until(`the standby is ${wanted}`, async () => {
      const rows = await sql.unsafe("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'");
      return rows[0]?.sync_state === wanted;
    }, 60);
    return pair;
  }

  /** Fails the primary and promotes the standby, which then takes writes without a standby of its own. */
  async promote(failure: Failure): Promise<void> {
    if (failure === "crash") await this.primary.crash();
    if (failure === "hang") {
      this.#stopped = processesIn(this.primary.dataDirectory).map(Number);
      for (const pid of this.#stopped) process.kill(pid, "SIGSTOP");
    }
    await using sql = administrator(this.standby.url);
    await sql.unsafe("ALTER SYSTEM SET synchronous_standby_names = ''"); // as it was copied from the primary
    await sql.unsafe("SELECT pg_reload_conf()");
    await sql.unsafe("SELECT pg_promote()");
  }

  /** Removes the old primary, and goes on with the one that was promoted. */
  async removePrimary(): Promise<PostgresServer> {
    for (const pid of this.#stopped) process.kill(pid, "SIGCONT");
    await this.primary.stop();
    return this.standby;
  }

  /** Removes both. */
  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.removePrimary()).stop();
  }
}
