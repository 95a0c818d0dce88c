import { startTimer } from "../../core/runtime.ts";
import type { Client } from "./client.ts";
import type { Session } from "./session.ts";

/** After how long a cancellation is sent again, since it may have come before its statement (ms), and how often. */
const PAUSE = 100;
const TRIES = 20;

const CANCEL = "SELECT pg_cancel_backend($1::text::integer)::text AS sent";

/**
 * Has the server end the wait of a session, so that no place stays in its queue; where that fails, the session is
 * closed, and the server notices by itself.
 *
 * @param standing Resolves when the wait is over.
 * @param goesOn Whether it is not.
 */
export async function cancelWait(
  client: Client,
  session: Session,
  standing: Promise<void>,
  goesOn: () => boolean,
): Promise<void> {
  for (let tries = 0; goesOn() && session.ended === undefined; tries++) {
    if (tries === TRIES) return await session.close();
    try {
      await client.send(CANCEL, [session.pid]);
    } catch {
      return await session.close();
    }
    await new Promise<void>((resolve) => {
      const timer = startTimer(PAUSE, resolve, true);
      standing.then(() => (timer.stop(), resolve()));
    });
  }
}
