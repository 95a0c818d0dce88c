import type { Offence, Rule } from "../checker.ts";
import type { Stalled } from "../events.ts";
import { overlap, stallsOf } from "../reading.ts";
import { tellOperation, when } from "../telling.ts";

/**
 * A waiter that does not run for so long (µs), or for so much of its lease, may lose its place: less than the time that a
 * grant to it lasts until it confirms that.
 */
const ABSENT = 1e6;
const ABSENT_SHARE = 0.5;

/** A client that asked for a name after another was in its queue was granted it later. */
export const overtaking: Rule = (reading, { listening, blocking }) => {
  const { operations, events } = reading;
  const queuedAt = new Map<string, number>();
  for (const event of events) if (event.kind === "queued") queuedAt.set(event.lockedBy, event.at);
  const disturbed = events.filter((event) => event.kind === "disturbed");
  const stalls = stallsOf(reading);
  // A client that stands still may keep the write lock, also for what it does after its callers were told.
  const blocked = blocking ? events.filter((event): event is Stalled => event.kind === "stalled") : [];
  const grants = operations.flatMap((operation) =>
    operation.verb === "acquire" || operation.verb === "set"
      ? (operation.answer?.granted ?? []).map(({ name, token }) => ({ name, token: BigInt(token), operation }))
      : []
  );
  return [...Map.groupBy(grants, ({ name }) => name).values()].flatMap((own) => {
    const late = own.toSorted((a, b) => b.operation.invokedAt - a.operation.invokedAt);
    return own.flatMap(({ name, token, operation }): Offence[] => {
      const since = queuedAt.get(operation.lockedBy!);
      if (since === undefined) return [];
      // A waiter whose connection may have ended has lost its place with it.
      if (listening && overlap(since, operation.completedAt, disturbed) > 0) return [];
      const absent = overlap(since, operation.completedAt, [...disturbed, ...stalls(operation.worker)]);
      const most = Math.min(ABSENT, (operation.expires ?? Infinity) * 1e6 * ABSENT_SHARE);
      if (absent > most) return [];
      if (blocked.some((stall) => overlap(since, operation.completedAt, [stall]) > most)) return [];
      for (const other of late) {
        if (other.operation.invokedAt <= since) break;
        if (other.token > token) continue;
        const story =
          `${tellOperation(other.operation)} overtook ${tellOperation(operation)}, which had waited since ` +
          when(since);
        return [{ rule: "first come", name, story }];
      }
      return [];
    });
  });
};
