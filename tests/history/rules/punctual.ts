import type { Offence, Rule } from "../checker.ts";
import { overlap, stallsOf } from "../reading.ts";
import { tellOperation } from "../telling.ts";

/** A stall that begins so soon after a call (µs) came before the call had begun to wait. */
const AT_ONCE = 1_000;

/** Who waits for a name comes back when the wait is over, whether the database answers or not. */
export const punctual: Rule = (reading, { lateness, telling }) => {
  const stalls = stallsOf(reading);
  return reading.operations.flatMap((operation): Offence[] => {
    const { verb, wait, invokedAt, completedAt, worker, answer, names } = operation;
    if (verb !== "acquire" || wait === undefined || answer === undefined) return [];
    const own = stalls(worker);
    const stalled = own.filter(({ from, at }) => from < invokedAt + AT_ONCE && at > invokedAt);
    const over = Math.max(invokedAt, ...stalled.map(({ at }) => at)) + wait * 1e6;
    const late = completedAt - over - overlap(over, completedAt, own);
    if (late <= lateness * 1e6 + telling * 1e3) return [];
    const story = `${tellOperation(operation)} was to wait ${wait.toFixed(3)} s, and came ${
      (late / 1e6).toFixed(3)
    } s late`;
    return [{ rule: "punctual", name: names[0], story }];
  });
};
