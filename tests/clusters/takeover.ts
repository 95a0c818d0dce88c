import { getLock, LockLost } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { connectAgain } from "../servers/connect_again.ts";

/** Seconds of silence after which a session is given up. */
const SESSION_TIMEOUT = 2;
/** How much longer than that a name may be held after a failure (s): the machine may be busy. Its lease lasts 600 s. */
const ALLOWANCE = 8;

/** What fails under a holder. */
export interface Takeover {
  /** The address of the server at a port of this machine. */
  urlOf(port: number): string;
  /** The port of the server that the holder uses, by connections that stay with that server. */
  readonly port: number;
  /** A table that no other test uses. */
  readonly table: string;
  /** Whether the holder's connections are cut without word; otherwise they stay. */
  readonly stranded: boolean;
  /** Makes the server fail. */
  fail(): Promise<unknown>;
  /** The port of the server that goes on. */
  readonly to: number;
}

/** A hybrid lock changes hands after a failure: its holder has to be told before, and the name to be free in time. */
export async function takeOver({ urlOf, port, table, stranded, fail, to }: Takeover): Promise<void> {
  const options = { mode: "hybrid", table, sessionTimeout: SESSION_TIMEOUT } as const;
  await using proxy = await Proxy.start(port);
  await using backend = await connectAgain(urlOf(proxy.port), options);
  const lock = await getLock("a", { backend, expires: 600, autoRenew: true });
  const told = aborted(lock.signal).then((reason) => ({ reason, at: performance.now() }));
  if (stranded) proxy.strand();
  await fail();
  const failedAt = performance.now();
  await using other = await connectAgain(urlOf(to), options);
  const next = await getLock("a", { backend: other, wait: 30 });
  const grantedAt = performance.now();
  assert.equal(lock.held, false, "the holder still believes in its lock");
  const { reason, at } = await told;
  assert(reason instanceof LockLost);
  assert(at <= grantedAt, `told ${at - grantedAt} ms after the next grant`);
  const seconds = (grantedAt - failedAt) / 1e3;
  assert(seconds <= SESSION_TIMEOUT + ALLOWANCE, `free after ${seconds} s`);
  assert(next.token > lock.token, "tokens increase");
  assert.equal(await next.unlock(), true);
  proxy.swallow = "requests"; // what the holder's backend still sends would only wait for the old server
}
