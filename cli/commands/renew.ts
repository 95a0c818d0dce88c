import { Option } from "commander";
import { LockNotFound, type LockRecord, renewLock } from "../../mod.ts";
import { seconds } from "../arguments.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { expiryOf } from "../formats/record.ts";
import { toJson } from "../formats/text.ts";
import { giveBack, openToStay } from "../opening.ts";

/** The outcome for one name. */
type Renewed = { name: string; renewed: true; lock: LockRecord } | { name: string; renewed: false };

function lineOf(renewal: Renewed): string {
  const lock = `Lock ${toJson(renewal.name)}`;
  return renewal.renewed ? `${lock} is held until ${expiryOf(renewal.lock)}` : `${lock} is not held`;
}

/** `renew`: extends locks that are held. */
export const renew: CommandSpec = {
  name: "renew",
  summary: "extend locks, of any holder",
  description: `A lock is never shortened: one that lasts longer already stays as it is. Exit code
1 when any of the names is not held.`,
  examples: [
    ["lockmgr renew deploy -t 3600", "an hour from now"],
    ["lockmgr renew deploy -t 3600 --add", "an hour more than it has"],
  ],
  define: (command) =>
    command
      .argument("<names...>", "names to renew")
      .addOption(
        new Option("-t, --timeout <seconds>", "time from now until they expire; 0 is never").argParser(seconds)
          .default(600),
      )
      .option("-a, --add", "add the time to what is left instead")
      .option("-c, --create", "create those that are not held"),
  onSignal: "gives back",
  async run({ open, output, stopping }, names, flags) {
    const backend = flags.create ? await openToStay(open) : await open();
    const renewals: Renewed[] = [];
    for (const name of new Set(names)) {
      const options = { backend, expires: flags.timeout, addTime: flags.add === true, create: flags.create === true };
      try {
        renewals.push({ name, renewed: true, lock: await renewLock(name, options) });
      } catch (error) {
        if (!(error instanceof LockNotFound)) throw error;
        renewals.push({ name, renewed: false });
      }
      if (stopping.by === undefined) continue;
      await giveBack(renewals.flatMap((each) => each.renewed ? [each.lock] : []));
      throw stopping.signal.reason;
    }
    output.result(renewals.map(lineOf).join("\n"), renewals);
    return renewals.every(({ renewed }) => renewed) ? EXIT.done : EXIT.failed;
  },
};
