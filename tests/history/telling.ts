import type { Hold, Operation } from "./reading.ts";

/** A moment, in seconds of the shared clock. */
export function when(at: number): string {
  return `${(at / 1e6).toFixed(6)} s`;
}

/** A hold, for a report. */
export function tellHold({ worker, token, begunAt, believedAt, grant }: Hold): string {
  return `${worker}/${grant.id} (token ${token}, held from ${when(begunAt)}, surely until ${when(believedAt)})`;
}

/** An operation, for a report. */
export function tellOperation({ worker, id, verb, invokedAt, completedAt, answer }: Operation): string {
  return `${worker}/${id} ${verb} (asked ${when(invokedAt)}, ${answer?.outcome ?? "no answer"} ${when(completedAt)})`;
}
