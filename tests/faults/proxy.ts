/**
 * A TCP proxy that loses, delays and cuts what passes through it.
 *
 * @module
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** The two ends of one conversation. */
interface Conversation {
  readonly client: Socket;
  readonly server: Socket;
  /** Neither side hears the other any more, and neither is told. */
  stranded: boolean;
  /** The client's end is gone, and the server is not told. */
  halfOpen?: boolean;
}

/**
 * Resets a connection, or closes one that is being shut down: Node would fail with EINVAL to reset that, never close it,
 * and spin at the end of its process.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Stands between programs and a server on this machine. */
export class Proxy implements AsyncDisposable {
  /** Milliseconds that each message takes longer. */
  delay = 0;
  /** What does not arrive. */
  swallow: "requests" | "answers" | undefined;
  /** A request that contains this still arrives, and none after it. */
  last: string | undefined;
  readonly #listener: Server;
  readonly #conversations = new Set<Conversation>();
  readonly #delayed = new Set<ReturnType<typeof setTimeout>>();

  /** The port of the server that new conversations lead to; those there are stay where they are. */
  to: number;

  private constructor(listener: Server, port: number) {
    this.#listener = listener;
    this.to = port;
  }

  /** Starts one in front of a port. */
  static async start(port: number): Promise<Proxy> {
    const listener = createServer({ noDelay: true });
    const proxy = new Proxy(listener, port);
    listener.on(
      "connection",
      (client) => proxy.#join(client, connect({ port: proxy.to, host: "127.0.0.1", noDelay: true })),
    );
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    return proxy;
  }

  /** Where it listens. */
  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** How many conversations pass through it. */
  get conversations(): number {
    return this.#conversations.size;
  }

  #join(client: Socket, server: Socket): void {
    const conversation: Conversation = { client, server, stranded: false };
    this.#conversations.add(conversation);
    const end = () => {
      if (conversation.stranded && !client.destroyed) return; // the other side is not told
      if (conversation.halfOpen && !server.destroyed) return;
      client.destroy();
      server.destroy();
      this.#conversations.delete(conversation);
    };
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
    client.on("data", (chunk: Uint8Array) => this.#pass(conversation, "requests", server, chunk));
    server.on("data", (chunk: Uint8Array) => this.#pass(conversation, "answers", client, chunk));
  }

  #pass(conversation: Conversation, what: "requests" | "answers", to: Socket, chunk: Uint8Array): void {
    if (conversation.stranded || this.swallow === what) return;
    if (what === "requests" && this.last && new TextDecoder().decode(chunk).includes(this.last)) this.swallow = what;
    const write = () => {
      if (!to.destroyed && !conversation.stranded) to.write(chunk);
    };
    if (this.delay === 0) return write();
    const timer = setTimeout(() => (this.#delayed.delete(timer), write()), this.delay);
    this.#delayed.add(timer);
  }

  /** Ends every conversation. */
  cut(): void {
    for (const { client, server } of [...this.#conversations]) {
      reset(client);
      reset(server);
    }
  }

  /** Resets the clients' ends of all conversations; the server's ends stay open, and the server hears nothing more. */
  cutClients(): void {
    for (const conversation of this.#conversations) {
      conversation.stranded = conversation.halfOpen = true;
      reset(conversation.client);
    }
  }

  /** Leaves every conversation half-open: nothing passes, nobody is told. */
  strand(): void {
    for (const conversation of this.#conversations) conversation.stranded = true;
  }

  /** Ends every conversation and takes no more. */
  async close(): Promise<void> {
    if (!this.#listener.listening) return;
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const conversation of this.#conversations) conversation.stranded = conversation.halfOpen = false;
    this.cut();
    for (const timer of this.#delayed) clearTimeout(timer);
    await closed;
  }

  /** Ends every conversation and takes no more. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
