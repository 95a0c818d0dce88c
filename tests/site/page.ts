/**
 * Pages of a browser, through the Chrome DevTools Protocol.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any -- each method has a shape of its own
type Fields = Record<string, any>;

/** A connection to the browser. */
export class Connection {
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, { resolve(result: Fields): void; reject(error: Error): void }>();
  readonly #listeners = new Map<string, (method: string, parameters: Fields) => void>();
  #calls = 0;
  /** Rejects when the browser has closed the connection. */
  readonly closed: Promise<never>;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.closed = new Promise((_, reject) => socket.onclose = () => reject(new Error("The browser has ended")));
    this.closed.catch((error) => this.#answers.forEach(({ reject }) => reject(error)));
  }

  /** Connects to a browser. */
  static async open(address: string): Promise<Connection> {
    const socket = new WebSocket(address);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Connection(socket);
  }

  #receive({ id, error, result, sessionId, method, params }: Fields): void {
    if (id === undefined) return this.#listeners.get(sessionId)?.(method, params);
    const answer = this.#answers.get(id);
    this.#answers.delete(id);
    if (error) answer?.reject(new Error(error.message));
    else answer?.resolve(result);
  }

  /** Calls a method, of a page if a session is given. */
  call(method: string, params: Fields = {}, sessionId?: string): Promise<Fields> {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#answers.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  /** Listens to the events of a page. */
  listen(sessionId: string, listener: (method: string, parameters: Fields) => void): void {
    this.#listeners.set(sessionId, listener);
  }

  /** Ends the browser. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.addEventListener("close", resolve));
    this.#socket.send(JSON.stringify({ id: ++this.#calls, method: "Browser.close" }));
    await closed;
  }
}

/** A page. */
export class Page {
  readonly #connection: Connection;
  readonly #session: string;
  #problems: string[] = [];
  #loaded = () => {};

  private constructor(connection: Connection, session: string) {
    this.#connection = connection;
    this.#session = session;
    connection.listen(session, (method, parameters) => this.#hear(method, parameters));
  }

  /** Opens an empty page. */
  static async open(connection: Connection): Promise<Page> {
    const { targetId } = await connection.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await connection.call("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(connection, sessionId);
    for (const domain of ["Page", "Network", "Log", "Runtime"]) await page.call(`${domain}.enable`);
    return page;
  }

  #hear(method: string, parameters: Fields): void {
    if (method === "Page.loadEventFired") this.#loaded();
    const problem = problemOf(method, parameters);
    if (problem !== undefined) this.#problems.push(problem);
  }

  /** Calls a method of this page. */
  call(method: string, parameters: Fields = {}): Promise<Fields> {
    return this.#connection.call(method, parameters, this.#session);
  }

  /** Goes to an address; resolves when everything there is loaded. */
  async goTo(address: string): Promise<void> {
    do {
      this.#problems = [];
      const loaded = new Promise<void>((resolve) => this.#loaded = resolve);
      await this.call("Page.navigate", { url: address });
      await Promise.race([loaded, this.#connection.closed]);
    } while (this.interrupted);
  }

  /** Evaluates an expression in the page; a promise is awaited. */
  async evaluate<Value>(expression: string): Promise<Value> {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(`Cannot evaluate ${expression}: ${JSON.stringify(exceptionDetails)}`);
    return result.value;
  }

  /** Resolves when an expression counts as true; it is evaluated before each frame, and has a minute. */
  until(expression: string): Promise<void> {
    return this.evaluate(`new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error("It stays false")), 60_000);
      const look = () => {
        if (${expression}) resolve();
        else requestAnimationFrame(look);
      };
      look();
    })`);
  }

  /** Whether the browser ended a request because a network interface came or went, as those of other tests do. */
  get interrupted(): boolean {
    return this.#problems.some((problem) => problem.includes("ERR_NETWORK_CHANGED"));
  }

  /** What went wrong since the page was navigated to: errors, warnings and failed requests. */
  get problems(): readonly string[] {
    return this.#problems;
  }
}

/** What an event says of an error, a warning or a failed request. */
function problemOf(method: string, parameters: Fields): string | undefined {
  switch (method) {
    case "Runtime.exceptionThrown":
      return `exception: ${parameters.exceptionDetails.exception?.description ?? parameters.exceptionDetails.text}`;
    case "Runtime.consoleAPICalled":
      if (!["error", "warning"].includes(parameters.type)) return undefined;
      return `console: ${parameters.args.map((each: Fields) => each.value ?? each.description).join(" ")}`;
    case "Log.entryAdded":
      return parameters.entry.level === "error" ? `log: ${parameters.entry.text} ${parameters.entry.url}` : undefined;
    case "Network.loadingFailed":
      return parameters.canceled ? undefined : `request: ${parameters.errorText}`;
    case "Network.requestWillBeSent":
      return /^(?:http:\/\/127\.0\.0\.1:|data:)/.test(parameters.request.url)
        ? undefined
        : `request to another host: ${parameters.request.url}`;
  }
}
