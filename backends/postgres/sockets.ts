import { builtin } from "../../core/runtime.ts";

/** What is used of a socket of `node:net`. */
interface Socket {
  ref?(): void;
  unref?(): void;
  destroy(): void;
  readonly destroyed?: boolean;
  once(event: "close", listener: () => void): unknown;
  connect(...parameters: unknown[]): unknown;
  host?: string;
}

/** Where postgres.js wants to connect to. */
interface Address {
  readonly host: readonly string[];
  readonly port: readonly number[];
  readonly path?: string | false;
}

/**
 * The sockets of one `sql` instance: an idle connection must not keep the process from ending, one that somebody waits
 * for must keep it alive, and one that is given up must be cut whatever the driver thinks of it.
 */
export class Sockets {
  readonly #open = new Set<Socket>();
  #users = 0;
  #next = 0;

  /**
   * The option that has postgres.js make its sockets here; none where there is no `node:net`, as on an edge platform.
   * What the program itself makes sockets with (`given`, as a cloud's connector does) goes on doing so.
   */
  option(given: unknown): { socket?: (address: Address) => unknown } {
    if (typeof given === "function") return { socket: async (address) => this.#keep(await given(address)) };
    const net = builtin<typeof import("node:net")>("node:net");
    if (net?.Socket === undefined) return {};
    return { socket: (address) => this.#keep(this.#connect(new net.Socket() as unknown as Socket, address)) };
  }

  #connect(socket: Socket, address: Address): Socket {
    const turn = this.#next++ % address.port.length;
    if (address.path) socket.connect(address.path);
    else socket.connect(address.port[turn], address.host[turn]);
    socket.host = address.host[turn]; // for the name in the server's certificate
    return socket;
  }

  #keep(socket: Socket): Socket {
    this.#prune();
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    if (this.#users === 0) socket.unref?.();
    return socket;
  }

  /** Somebody waits for an answer: the process stays alive. */
  ref(): void {
    if (this.#users++ === 0) { for (const socket of this.#open) socket.ref?.(); }
  }

  /** Nobody waits any more. */
  unref(): void {
    if (--this.#users === 0) { for (const socket of this.#open) socket.unref?.(); }
  }

  /** Cuts every connection; resolves when all are closed. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#open].map((socket) =>
      new Promise<void>((resolve) => {
        if (socket.destroyed) return resolve();
        socket.once("close", resolve);
        socket.destroy();
      })
    ));
    this.#open.clear();
  }

  /** Forgets what is closed: TLS takes a socket over with its listeners, ours among them. */
  #prune(): void {
    for (const socket of this.#open) if (socket.destroyed) this.#open.delete(socket);
  }
}
