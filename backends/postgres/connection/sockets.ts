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

/** The endpoints that postgres.js connects to. */
interface Address {
  readonly host: readonly string[];
  readonly port: readonly number[];
  readonly path?: string | false;
}

/** The first byte of an error message, and its field of an error that ends the connection, in every language. */
const ERROR = "E".charCodeAt(0);
const FATAL = "\0VFATAL\0";
/** The answer to a request for TLS of a server without it. */
const NO_TLS = "N".charCodeAt(0);

/** Whether a chunk is an error message that ends the connection: its length follows its type. */
function isFatalError(chunk: Uint8Array): boolean {
  if (chunk[0] !== ERROR || chunk.length < 5) return false;
  const length = new DataView(chunk.buffer, chunk.byteOffset).getUint32(1);
  return length + 1 === chunk.length && new TextDecoder().decode(chunk).includes(FATAL);
}

/**
 * The sockets of one `sql` instance. Idle connections do not keep the process alive, those with statements in progress
 * do, and those that are given up are cut whatever state the driver is in.
 */
export class Sockets {
  readonly #open = new Set<Socket>();
  readonly #onLoss: () => void;
  readonly #requiresTls: boolean;
  #refusal: Error | undefined;
  #users = 0;
  #next = 0;
  #closed = false;
  #heard = false;

  /**
   * @param onLoss Called for every connection that was not closed here.
   * @param requiresTls Whether a server without TLS is refused with a clear error: the driver would begin TLS all the same.
   */
  constructor(onLoss: () => void, requiresTls: boolean = false) {
    this.#onLoss = onLoss;
    this.#requiresTls = requiresTls;
  }

  /** Whether a server has ever answered. */
  get heard(): boolean {
    return this.#heard;
  }

  /** Why the last connection was given up here. */
  get refusal(): Error | undefined {
    return this.#refusal;
  }

  /**
   * Returns the option that makes postgres.js open its sockets here, or with `given`, a function of the program such as
   * a cloud's connector; no option without `node:net`, as on an edge platform.
   */
  option(given: unknown): { socket?: (address: Address) => unknown } {
    if (typeof given === "function") {
      return { socket: async (address) => (this.#requireOpen(), this.#keep(await given(address))) };
    }
    const net = builtin<typeof import("node:net")>("node:net");
    if (net?.Socket === undefined) return {};
    const connect = (address: Address) => this.#connect(new net.Socket() as unknown as Socket, address);
    return { socket: (address) => (this.#requireOpen(), this.#keep(connect(address))) };
  }

  /** A driver that connects while it is ended would try again and again with a closed socket. */
  #requireOpen(): void {
    if (this.#closed) throw new Error("Cannot connect: the connections were closed");
  }

  #connect(socket: Socket, address: Address): Socket {
    const index = this.#next++ % address.port.length;
    if (address.path) socket.connect(address.path);
    else socket.connect(address.port[index], address.host[index]);
    socket.host = address.host[index]; // for the name in the server's certificate
    return socket;
  }

  #keep(socket: Socket): Socket {
    this.#open.add(socket);
    socket.once("data", () => this.#heard = true);
    const listen = () => socket.once("close", () => this.#forget(socket));
    const removeAllListeners = socket.removeAllListeners;
    // the driver removes all listeners when TLS takes over the socket
    socket.removeAllListeners = (...events) => (removeAllListeners.apply(socket, events), listen());
    listen();
    // The server sends this error before it frees the locks and closes the connection: holders learn of the loss now.
    // The driver reads the message first, for the statements in progress.
    socket.on("data", (chunk) => isFatalError(chunk) && soon(() => socket.destroy()));
    if (this.#requiresTls) socket.once("data", (chunk) => this.#refuseWithoutTls(socket, chunk));
    if (this.#users === 0) socket.unref?.();
    if (this.#closed) socket.destroy(); // the driver was ended while it connected
    return socket;
  }

  /** Cuts a connection whose server answers the request for TLS with a single N. */
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
    if (this.#open.delete(socket) && !this.#closed) this.#onLoss();
  }

  /** Keeps the process alive until `unref`, for a statement in progress. */
  ref(): void {
    if (this.#users++ === 0) { for (const socket of this.#open) socket.ref?.(); }
  }

  /** The opposite of `ref`. */
  unref(): void {
    if (--this.#users === 0) { for (const socket of this.#open) socket.unref?.(); }
  }

  /** Cuts every connection; resolves when all are closed. */
  async destroy(): Promise<void> {
    this.#closed = true;
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
