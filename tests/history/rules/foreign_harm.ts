import type { Offence, Rule } from "../checker.ts";
import { exclude, type Hold } from "../reading.ts";
import { tellHold, tellOperation } from "../telling.ts";

const HARMFUL = new Set(["renew", "release", "verify"]);

function harmOf(hold: Hold, others: readonly Hold[]): Offence[] {
  const offences: Offence[] = [];
  for (const operation of hold.operations) {
    if (!HARMFUL.has(operation.verb) || operation.answer?.outcome !== "done") continue;
    const next = others.find((other) =>
      other !== hold && exclude(other, hold) && other.token > hold.token &&
      other.grant.completedAt < operation.invokedAt
    );
    if (next === undefined) continue;
    const story = `${tellOperation(operation)} of token ${hold.token} took effect after ${tellHold(next)}`;
    offences.push({ rule: "no foreign harm", name: hold.name, story });
  }
  return offences;
}

/** What a handle asks for after another has the name never takes effect. */
export const foreignHarm: Rule = ({ holds }) =>
  [...Map.groupBy(holds, ({ name }) => name).values()].flatMap((own) => own.flatMap((hold) => harmOf(hold, own)));
