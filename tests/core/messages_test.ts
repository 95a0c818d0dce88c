/** Names and holders come from other programs: a message never contains what a terminal obeys, or a line of their own. */
import { BackendError, connect, getLock, LockError, type LockLost, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { faulty } from "./faulty.ts";
import { test } from "./wrapping.ts";

const HOSTILE = 'é"\n\x1b[2J\x9b\u202e\u2028\u3164\u{e0041}❤\ufe0f';
const ESCAPED = '"é\\"\\n\\u001b[2J\\u009b\\u202e\\u2028\\u3164\\udb40\\udc41❤\ufe0f"';

test("messages of errors and texts of records have no invisible characters", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, faults } = faulty(real);
  const messageOf = async (call: Promise<unknown>) => {
    const error = await call.then(() => assert.fail("resolved"), (error) => error);
    assert(error instanceof LockError || error instanceof TypeError);
    return error.message;
  };
  const lock = await getLock(HOSTILE, { backend, lockedBy: HOSTILE });
  const held = `held by ${ESCAPED} until`;
  assert((await messageOf(getLock(HOSTILE, { backend }))).startsWith(`Cannot acquire lock ${ESCAPED}: ${held} `));
  const late = await messageOf(getLock(HOSTILE, { backend, wait: 0.01 }));
  assert(late.startsWith(`Cannot acquire lock ${ESCAPED} within 0.01 s: ${held} `), late);
  assert.match(String(lock), /name='é"\\u000a\\u001b\[2J\\u009b\\u202e.*' locked_by='é/);
  await unlock(HOSTILE, { backend });
  assert.equal(await lock.verify(), false);
  assert((lock.signal.reason as LockLost).message.startsWith(`Cannot keep lock ${ESCAPED}: `));
  assert((await messageOf(getLock(`${HOSTILE}\0`, { backend }))).includes(String.raw`\u202e\u2028`));
  faults.acquire.push("lose the request", "lose the request");
  assert.equal(/\p{Cc}|\u202e/u.test(await messageOf(getLock(HOSTILE, { backend }))), false);
  assert.equal(new BackendError("one line\r\nand\u202e another").message, "one line\\u000d\nand\\u202e another");
});
