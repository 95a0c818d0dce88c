import { builtin, soon } from "../../../core/util/runtime.ts";

/** What is used of a socket of `node:net`. */
interface Socket {
  ref?(): void;
  unref?(): void;
  destroy(): void;
  readonly destroyed?: boolean;
  once(event: "close", listener: () => void): unknown;
  once(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  removeAllListeners(...events: unknown[]): unknown;
  connect(...parameters: unknown[]): unknown;
  host?: string;
}

/** Where postgres.js wants to connect to. */
interface Address {
  readonly host: readonly string[];
  readonly port: readonly number[];
  readonly path?: string | false;
}

/** The type of a message that tells of an error, and what one that ends the connection says in every language. */
const ERROR = "E".charCodeAt(0);
/** What the server answers to a request for TLS that it does not have. */
const NO_TLS = "N".charCodeAt(0);
const FATAL = "\0VFATAL\0";

/** Whether the server says that it ends the connection: a message by itself, its length after its type. */
function isFatalError(chunk: Uint8Array): boolean {
  if (chunk[0] !== ERROR || chunk.length < 5) return false;
  const length = new DataView(chunk.buffer, chunk.byteOffset).getUint32(1);
  return length + 1 === chunk.length && new TextDecoder().decode(chunk).includes(FATAL);
}

/**
 * The sockets of one `sql` instance: an idle connection must not keep the process from ending, one that somebody waits
 * for must keep it alive, and one that is given up must be cut whatever the driver thinks of it.
 */
export class Sockets {
  readonly #open = new Set<Socket>();
  readonly #onLoss: () => void;
  readonly #requiresTls: boolean;
  #refusal: Error | undefined;
  #users = 0;
  #next = 0;
  #over = false;

  /**
   * @param onLoss Told of every connection that was not closed here.
   * @param requiresTls Whether a server without TLS must be refused by name: the driver would begin TLS all the same, and
   * tell of the disorder that follows.
   */
  constructor(onLoss: () => void, requiresTls: boolean = false) {
    this.#onLoss = onLoss;
    this.#requiresTls = requiresTls;
  }

  /** Why the last connection was given up here. */
  get refusal(): Error | undefined {
    return this.#refusal;
  }

  /**
   * The option that has postgres.js make its sockets here; none where there is no `node:net`, as on an edge platform.
   * What the program itself makes sockets with (`given`, as a cloud's connector does) goes on doing so.
   */
  option(given: unknown): { socket?: (address: Address) => unknown } {
    if (typeof given === "function") {
      return { socket: async (address) => (this.#refuseOver(), this.#keep(await given(address))) };
    }
    const net = builtin<typeof import("node:net")>("node:net");
    if (net?.Socket === undefined) return {};
    return {
      socket: (
        address,
      ) => (this.#refuseOver(), this.#keep(this.#connect(new net.Socket() as unknown as Socket, address))),
    };
  }

  /** A driver that was about to connect when it was ended would try again and again if it were given a closed socket. */
  #refuseOver(): void {
    if (this.#over) throw new Error("Cannot connect: the connections were closed");
  }

  #connect(socket: Socket, address: Address): Socket {
    const turn = this.#next++ % address.port.length;
    if (address.path) socket.connect(address.path);
    else socket.connect(address.port[turn], address.host[turn]);
    socket.host = address.host[turn]; // for the name in the server's certificate
    return socket;
  }

  #keep(socket: Socket): Socket {
    this.#open.add(socket);
    const listen = () => socket.once("close", () => this.#forget(socket));
    const removeAllListeners = socket.removeAllListeners;
    // TLS takes a socket over: the driver then takes all listeners away, and ours must stay
    socket.removeAllListeners = (...events) => (removeAllListeners.apply(socket, events), listen());
    listen();
    // Who is sent away hears of it before the server frees the locks; the connection is closed after that. The driver
    // reads the message first, for whoever waits for an answer.
    socket.on("data", (chunk) => isFatalError(chunk) && soon(() => socket.destroy()));
    if (this.#requiresTls) socket.once("data", (chunk) => this.#refuseWithoutTls(socket, chunk));
    if (this.#users === 0) socket.unref?.();
    if (this.#over) socket.destroy(); // the driver was about to connect when it was ended
    return socket;
  }

  /** Ends a connection whose server answers the request for TLS with a single N. */
  #refuseWithoutTls(socket: Socket, chunk: Uint8Array): void {
    if (chunk.length !== 1 || chunk[0] !== NO_TLS) {
      this.#refusal = undefined;
      return;
    }
    const reason =
      "the server does not support TLS, which sslmode or ssl requires; want a server with TLS, or sslmode=prefer";
    this.#refusal = Object.assign(new Error(reason), { code: "TLS_REFUSED" });
    socket.destroy();
  }

  #forget(socket: Socket): void {
    if (this.#open.delete(socket) && !this.#over) this.#onLoss();
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
    this.#over = true;
    await Promise.all([...this.#open].map((socket) =>
      new Promise<void>((resolve) => {
        if (socket.destroyed) return resolve();
        socket.once("close", resolve);
        socket.destroy();
      })
    ));
    this.#open.clear();
  }
}
