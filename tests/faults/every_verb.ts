/** Uses each verb on names of its own, and again after each loss. Says what it holds, and until when it believed that it did. */
import { type ConnectOptions, getLock, getLocks, lead, type Lock, LockLost, watchLocks } from "@lockmgr/lockmgr";
import { lockManager } from "@lockmgr/lockmgr/web-locks";
import { subscribe } from "node:diagnostics_channel";
import process from "node:process";
import { aborted } from "../conformance/case.ts";
import { connectAgain } from "../servers/connect_again.ts";

const [url, options, seconds] = process.argv.slice(2);
const backend = await connectAgain(url, JSON.parse(options) as ConnectOptions);
const hasRows = backend.mode !== "session";
const expires = hasRows ? Number(seconds) : undefined;
const clock = () => performance.timeOrigin + performance.now();
const say = (value: unknown) => console.log(JSON.stringify(value));

/** Resolves when a lock is lost. */
async function hold(verb: string, signal: AbortSignal, tokens: readonly bigint[], held: () => boolean): Promise<void> {
  const from = clock();
  let until = held() ? from : undefined;
  say({ verb, tokens: tokens.map(String) });
  const look = setInterval(() => {
    const now = clock(); // read first: the process may be stopped before the next line
    if (held()) until = now;
  }, 2);
  const { code } = await aborted(signal) as { code: string };
  clearInterval(look);
  say({ verb, tokens: tokens.map(String), until, lost: code });
}

const holdLock = (verb: string, lock: Lock) => hold(verb, lock.signal, [lock.token], () => lock.held);

let queued: string | undefined;
subscribe("tracing:lockmgr.acquire:asyncEnd", (message) => {
  const { name, outcome, token } = message as { name: string; outcome?: string; token?: bigint };
  if (name !== "queue 1" || outcome !== "granted") return;
  queued = String(token);
  say({ verb: "getLocks that waits", tokens: [queued] });
});

/** What uses each verb once. */
const uses: Readonly<Record<string, (verb: string) => Promise<unknown>>> = {
  async getLocks(verb) {
    await using set = await getLocks(["set 1", "set 2"], { backend, expires, wait: Infinity, autoRenew: true });
    await hold(verb, set.signal, set.locks.map(({ token }) => token), () => set.held);
  },
  async "getLocks that waits"(verb) {
    await getLocks(["queue 1", "queue 2"], { backend, expires, wait: Infinity }).catch((error) => {
      if (!(error instanceof LockLost)) throw error;
      say({ verb, tokens: [queued], lost: error.code });
    });
  },
  lead: (verb) =>
    lead("lead", { backend, expires }, (lock) => holdLock(verb, lock).then(() => lock.signal.throwIfAborted())),
  async lockManager(verb) {
    const locks = lockManager(backend, { expires });
    const request = locks.request("web", async (lock) => {
      await hold(verb, lock!.signal, [lock!.token], () => !lock!.signal.aborted);
      await new Promise(() => {}); // the request ends though its callback goes on
    });
    say({ verb, rejected: await request.catch(({ name }) => name) });
  },
};
if (hasRows) {
  Object.assign(
    uses,
    {
      async holdAtLeast(verb: string) {
        await using lock = await getLock("kept", {
          backend,
          expires,
          wait: Infinity,
          autoRenew: true,
          holdAtLeast: 600,
        });
        await holdLock(verb, lock);
      },
      async watchLocks(verb: string) {
        for await (const { holders } of watchLocks({ backend, names: ["watched"] })) {
          say({ verb, holder: holders[0]?.lockedBy ?? null });
        }
      },
    } satisfies typeof uses,
  );
}
if (backend.adopt && backend.mode === "lease") {
  say({ verb: "detach", text: (await getLock("handed on", { backend, expires: 600 })).detach() });
}

for (const [verb, use] of Object.entries(uses)) {
  void (async () => {
    for (;;) await use(verb).catch((error) => say({ verb, failed: String(error) }));
  })();
}
