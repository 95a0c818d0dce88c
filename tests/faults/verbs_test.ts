/**
 * Every verb in one process, on every engine and mode, while connections are cut, renewals do not arrive, the process is
 * stopped past its leases, and it is killed.
 */
import {
  adoptLock,
  type Backend,
  type BackendError,
  connect,
  getLock,
  getLocks,
  listLocks,
  tryLock,
  unlock,
  watchLocks,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect as dial, createServer } from "node:net";
import process from "node:process";
import { deferred } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { start, type Worker } from "../processes/spawn.ts";
import { engines, type Environment } from "./environments.ts";
import { Proxy, reset } from "./proxy.ts";

/** The lease, and the longest silence of a session (s). */
const LEASE = 2;
/** A program that says nothing for so long hangs (ms). */
const LONGEST_MS = 60_000;
/** The names that each verb holds, until they are lost. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  getLocks: ["set 1", "set 2"],
  lead: ["lead"],
  lockManager: ["web"],
  "getLocks that waits": ["queue 1"],
};
const HELD = Object.values(NAMES).flat();

/** What the program says of a verb: that it holds, until when it did, or what it sees. */
interface Said {
  readonly verb: string;
  readonly tokens?: readonly string[];
  readonly lost?: string;
  readonly until?: number;
  readonly rejected?: string;
  readonly holder?: string | null;
  readonly text?: string;
}

/** Hears what a program says. */
class Listener {
  readonly #said: Said[] = [];
  #heard = deferred();
  #ended = false;

  constructor(worker: Worker) {
    void this.#listen(worker);
  }

  async #listen(worker: Worker): Promise<void> {
    for (; !this.#ended; this.#heard = deferred()) {
      await worker.next<Said>().then((said) => this.#said.push(said), () => this.#ended = true);
      this.#heard.resolve();
    }
  }

  /** Everything that is said of a verb. */
  of(verb: string): Said[] {
    return this.#said.filter((said) => said.verb === verb);
  }

  /** Waits for something that is said of a verb; returns the last such thing. */
  async next(verb: string, isSuch: (said: Said) => boolean): Promise<Said> {
    const timer = setTimeout(() => (this.#ended = true, this.#heard.resolve()), LONGEST_MS);
    try {
      for (;;) {
        const found = this.of(verb).findLast(isSuch);
        if (found) return found;
        if (this.#ended) throw new Error(`${verb} did not say so: ${isSuch}, but ${JSON.stringify(this.of(verb))}`);
        await this.#heard.promise;
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

/** One process that uses every verb, and a rival of the test's own. A busy machine may lose leases besides. */
class Trial {
  readonly #rival: Backend;
  readonly #said: Listener;
  readonly #hasRows: boolean;
  /** The highest token of each name, as far as the trial has looked. */
  readonly #tokens = new Map<string, bigint>();
  /** Those under which the program held the names of each verb. */
  readonly #held = new Map<string, readonly string[]>();
  #watched = 0;

  constructor(rival: Backend, said: Listener) {
    this.#rival = rival;
    this.#said = said;
    this.#hasRows = rival.mode !== "session";
  }

  #token(name: string): bigint {
    return this.#tokens.get(name) ?? 0n;
  }

  #noteToken(name: string, token: bigint): void {
    assert(token > this.#token(name), `${name}: ${token} after ${this.#token(name)}`);
    this.#tokens.set(name, token);
  }

  /** Waits until the program holds what it can, under new tokens. */
  async held(): Promise<void> {
    for (const [verb, names] of Object.entries(NAMES)) {
      const { tokens } = await this.#said.next(verb, ({ tokens, lost }) => {
        return lost === undefined &&
          tokens?.every((token, index) => BigInt(token) > this.#token(names[index])) === true;
      });
      this.#held.set(verb, tokens!);
      names.forEach((name, index) => this.#noteToken(name, BigInt(tokens![index])));
    }
  }

  /** Waits until every verb has lost what it held, when that was looked at. */
  async lost(): Promise<void> {
    for (const [verb, held] of this.#held) {
      const { lost } = await this.#said.next(verb, ({ tokens, lost }) => {
        return lost !== undefined && BigInt(tokens![0]) >= BigInt(held[0]);
      });
      assert.equal(lost, "LOCK_LOST");
    }
    await this.#said.next("lockManager", ({ rejected }) => rejected === "AbortError");
  }

  /** Takes every name from a process that can no longer renew, lets it go on, and gives the names back. */
  async expire(resume: () => void): Promise<void> {
    const taken = await Promise.all(HELD.map(async (name) => {
      const lock = await getLock(name, { backend: this.#rival, wait: 60 });
      this.#noteToken(name, lock.token);
      return { lock, at: performance.timeOrigin + performance.now() };
    }));
    if (this.#hasRows) assert.equal(await tryLock("kept", { backend: this.#rival }), undefined);
    resume();
    await this.lost();
    await this.watches();
    for (const { lock } of taken) assert.equal(await lock.verify(), true);
    for (const { lock } of taken) await lock.unlock();
    await this.held();
    for (const { lock, at } of taken) {
      const verb = Object.keys(NAMES).find((verb) => NAMES[verb].includes(lock.name))!;
      const index = NAMES[verb].indexOf(lock.name);
      for (const { tokens, lost, until } of this.#said.of(verb)) {
        if (lost === undefined || until === undefined || BigInt(tokens![index]) > lock.token) continue;
        assert(until <= at, `${verb} held ${lock.name} for ${until - at} ms beside the next holder`);
      }
    }
  }

  /** Checks that the program's watch goes on. */
  async watches(): Promise<void> {
    if (!this.#hasRows) return;
    const lockedBy = `rival ${++this.#watched}`;
    const lock = await getLock("watched", { backend: this.#rival, lockedBy });
    await this.#said.next("watchLocks", ({ holder }) => holder === lockedBy);
    await lock.unlock();
  }

  /** Cuts the connections: a lease is renewed through others, what a session carried is lost. */
  async cut(proxy: Proxy): Promise<void> {
    const [{ now }] = await this.#rival.list({ names: ["queue 2"] });
    proxy.cut();
    if (this.#rival.mode === "lease") {
      while (!await this.#areRenewedSince(now)) await new Promise((resolve) => setTimeout(resolve, 50));
    } else {
      await this.lost();
      await this.held();
    }
    await this.watches();
  }

  /** Whether the program holds everything, and the rows say so after a time by the server's clock. */
  async #areRenewedSince(time: number): Promise<boolean> {
    const rows = await this.#rival.list({ names: HELD });
    const believed = Object.keys(NAMES).flatMap((verb) =>
      this.#said.of(verb).findLast(({ tokens }) => tokens)?.tokens ?? []
    );
    return rows.length === HELD.length && rows.every(({ token, updatedAt }) => {
      return updatedAt > time && believed.includes(String(token));
    });
  }

  /** Kills the process: nothing but what is kept stays. */
  async kill(program: Worker): Promise<void> {
    const backend = this.#rival;
    const watched = this.#hasRows ? this.#untilFree("lead") : undefined;
    program.child.kill("SIGKILL");
    await program.ended;
    await watched;
    await using all = await getLocks(HELD, { backend, wait: 60 });
    for (const { name, token } of all.locks) this.#noteToken(name, token);
    if (!this.#hasRows) return;
    const [{ lockedUntil, createdAt }] = await listLocks({ backend, names: ["kept"] });
    assert(lockedUntil!.getTime() - createdAt.getTime() >= 600e3);
    assert.equal(await unlock("kept", { backend }), true);
    if (backend.mode !== "lease") return;
    const { text } = await this.#said.next("detach", () => true);
    await using adopted = await adoptLock(text!, { backend });
    assert(adopted.held);
    await assert.rejects(adoptLock(text!, { backend }), { code: "LOCK_NOT_FOUND" });
  }

  async #untilFree(name: string): Promise<void> {
    for await (const { holders } of watchLocks({ backend: this.#rival, names: [name] })) if (!holders.length) return;
  }
}

/** Stops the program, but not in the middle of a statement: an SQLite file would stay locked. */
async function stop({ child }: Worker, target: string): Promise<void> {
  process.kill(child.pid!, "SIGSTOP");
  if (!target.startsWith("sqlite:")) return;
  await using probe = await connect(target, { busyTimeout: 0.1 });
  const isLocked = ({ retryable }: BackendError) => assert(retryable);
  while (!await tryLock("probe", { backend: probe }).then((lock) => lock!.unlock()).catch(isLocked)) {
    process.kill(child.pid!, "SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, 5)); // until the statement has ended
    process.kill(child.pid!, "SIGSTOP");
  }
}

async function survive({ mode, open }: Environment): Promise<void> {
  await using fixture = await open();
  const { target, server } = fixture;
  await using proxy = server ? await Proxy.start(server.port) : undefined;
  const options = { ...fixture.options, ...(server ? { mode } : {}) };
  await using rival = await connect(target, options);
  await using _held = await getLock("queue 2", { backend: rival });
  const url = proxy ? server!.targetAt(proxy.port) : target;
  const brief = server ? { ...options, sessionTimeout: LEASE } : options;
  await using program = start("tests/faults/every_verb.ts", [url, JSON.stringify(brief), String(LEASE)]);
  const trial = new Trial(rival, new Listener(program));
  await trial.held();
  if (proxy) {
    await trial.cut(proxy);
    proxy.swallow = "requests";
    await trial.expire(() => {
      proxy.swallow = undefined;
      proxy.cut();
    });
  }
  await stop(program, target);
  await trial.expire(() => process.kill(program.child.pid!, "SIGCONT"));
  await trial.kill(program);
}

const chosen = "Deno" in globalThis ? Object.keys(engines) : ["sqlite", "postgres"];
const environments = (await Promise.all(chosen.map((engine) => engines[engine]()))).flat();

test("faults: every verb outlives cuts, silence, a stop and a kill, on every engine and mode", async () => {
  const trials = environments.map(async (environment) => {
    await survive(environment).catch((cause) => {
      throw new Error(`${environment.name}: ${cause.stack}`);
    });
  });
  const failed = (await Promise.allSettled(trials)).filter((trial) => trial.status === "rejected");
  assert.equal(failed.length, 0, failed.map(({ reason }) => reason.message).join("\n"));
});

// Here since this file runs on Node and Bun as well.
test("faults: a connection that is being shut down can be cut", async () => {
  const listener = createServer((socket) => socket.on("error", () => {}).resume()).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const socket = dial((listener.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  socket.write("the last");
  socket.end();
  const closed = once(socket, "close");
  reset(socket);
  await closed;
  listener.close();
  await once(listener, "close");
});
