/**
 * Connections of our own that are clients of node-postgres.
 *
 * @module
 */
import { withDeadline } from "../../../core/util/deadline.ts";
import { Rotation } from "../../../core/util/rotation.ts";
import type { GuardedSource } from "./abandoned.ts";
import { type DriverOptions, identityOf, type Instance, type OpenSockets, programName, type Query } from "./driver.ts";
import { coded, type PgClient, type PgClientClass, type PgPool, queryOf, sendOn } from "./pg_driver.ts";

/** What a new connection is opened with. */
interface Opening {
  readonly open: () => PgClient;
  readonly greet: (client: PgClient) => unknown;
  readonly lost: () => void;
  readonly onNotify: ((channel: string, payload: string) => void) | undefined;
}

/** One connection of our own; its statements are sent one after another. */
class PgConnection implements Instance, OpenSockets {
  readonly options: DriverOptions = {};
  readonly #opening: Opening;
  /** Names of prepared statements, which differ from those of connections that share a pooler's. */
  readonly #names = new Map<string, string>();
  readonly #prefix = `lockmgr_${crypto.randomUUID()}`;
  #client: PgClient | undefined;
  #connected: Promise<PgClient> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #gone: Promise<void> = Promise.resolve();
  #users = 0;
  #closed = false;

  constructor(opening: Opening) {
    this.#opening = opening;
  }

  unsafe(text: string, parameters: (string | null)[] = [], { prepare }: { prepare?: boolean } = {}): Query {
    let client: PgClient | undefined;
    const send = async () => {
      const connected = await (this.#connected ??= this.#connect());
      this.#requireOpen();
      client = connected;
      return await sendOn(client, text, parameters, prepare ? this.#nameOf(text) : undefined);
    };
    const answer = this.#last.then(send);
    this.#last = answer.catch(() => {});
    return queryOf(answer, () => client, this.#opening.open);
  }

  #nameOf(text: string): string {
    if (!this.#names.has(text)) this.#names.set(text, `${this.#prefix}_${this.#names.size}`);
    return this.#names.get(text)!;
  }

  #requireOpen(): void {
    if (this.#closed) throw Object.assign(new Error("the connection was closed"), { code: "CONNECTION_CLOSED" });
  }

  async #connect(): Promise<PgClient> {
    this.#requireOpen();
    const { open, greet, lost, onNotify } = this.#opening;
    const client = this.#client = open();
    const gone = Promise.withResolvers<void>();
    this.#gone = gone.promise;
    client.on("error", () => client.connection.stream.destroy());
    client.on("end", () => {
      gone.resolve();
      if (!this.#closed) lost();
    });
    if (onNotify) client.on("notification", ({ channel, payload }) => onNotify(channel, payload));
    try {
      await client.connect();
      await greet(client);
    } catch (error) {
      client.connection.stream.destroy();
      throw coded(error);
    }
    this.#keepAlive();
    return client;
  }

  /** A connection without statements in progress does not keep the process alive. */
  #keepAlive(): void {
    const stream = this.#client?.connection.stream;
    if (this.#users > 0) stream?.ref?.();
    else stream?.unref?.();
  }

  ref(): void {
    if (this.#users++ === 0) this.#keepAlive();
  }

  unref(): void {
    if (--this.#users === 0) this.#keepAlive();
  }

  async end({ timeout = 0 }: { timeout?: number } = {}): Promise<void> {
    await withDeadline(timeout * 1e3, this.#last);
    this.#closed = true;
    if (timeout > 0 && this.#client) await withDeadline(timeout * 1e3, this.#client.end());
  }

  async destroy(): Promise<void> {
    this.#closed = true;
    this.#client?.connection.stream.destroy();
    await this.#gone;
  }
}

/** Makes a source of clients like those of a pool or a client. */
function sourceOf(
  Client: PgClientClass,
  given: DriverOptions,
  identity: object,
  name: DriverOptions = { application_name: programName() },
  hooks = (): ((client: PgClient) => unknown)[] => [],
): GuardedSource {
  const options: DriverOptions = {
    ...name,
    connectionTimeoutMillis: 15_000,
    keepAlive: true,
    ...given,
    pipeline: false,
    Promise: undefined,
  };
  // hidden, as in the pool, from which a URL's password wins over it
  if ("password" in given) Object.defineProperty(options, "password", { value: given.password, enumerable: false });
  const open = () => {
    const client = new Client(options);
    client.connectionParameters.query_timeout = 0; // sessions have time limits of their own
    client.binary = false;
    return client;
  };
  const greet = async (client: PgClient) => {
    for (const hook of hooks()) hook(client); // such as one that sets the role or the search path
    await (given.onConnect as ((client: PgClient) => unknown) | undefined)?.(client);
  };
  return {
    hosts: new Rotation<DriverOptions>([{}]),
    identity: `pg ${identityOf(identity)}`,
    open({ onclose, onnotify }, onLoss) {
      const lost = () => {
        (onclose as (() => void) | undefined)?.();
        onLoss();
      };
      const onNotify = onnotify as Opening["onNotify"];
      const connection = new PgConnection({ open, greet, lost, onNotify });
      return { sql: connection, sockets: connection, explain: (error) => error };
    },
  };
}

/** Returns where clients like those of a pool come from, which give the name of this program unless the pool has one. */
export function sourceOfPool(pool: PgPool, name?: DriverOptions): GuardedSource {
  return sourceOf(pool.Client, pool.options, pool, name, () => pool.listeners("connect"));
}

/** Returns where clients like the given one come from. */
export function sourceOfClient(client: PgClient): GuardedSource {
  const { password } = client;
  const options = Object.defineProperty({ ...client.connectionParameters }, "password", { value: password });
  return sourceOf(client.constructor as PgClientClass, options, client);
}
