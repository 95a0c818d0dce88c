import type { Diagnostic } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { diagnose } from "../diagnosis.ts";
import { EXIT } from "../exit_codes.ts";
import type { Paint } from "../formats/paint.ts";
import { visible } from "../formats/text.ts";
import { targetInWords, targetOf } from "../opening.ts";
import { redactor } from "../secrets.ts";

/** One diagnostic, with its hint on a second line. */
function lineOf({ what, state, detail, advice }: Diagnostic, paint: Paint): string {
  const colour = { ok: paint.good, note: paint.faint, warning: paint.warning, problem: paint.bad }[state];
  const line = `${colour(state.padEnd(8))} ${what.padEnd(14)} ${visible(detail)}`;
  return advice === undefined ? line : `${line}\n${" ".repeat(24)}${visible(advice)}`;
}

/** `doctor`: diagnoses the database. */
export const doctor: CommandSpec = {
  name: "doctor",
  summary: "diagnose the database, with hints for each problem",
  description: `Checks that the database can be reached, its version, its modes, the table, that a
lock can be acquired and released, and the clocks. Creates no table; acquires a lock
named "lockmgr:doctor" for a moment if the table exists. Exit code 1 when there is a
problem.`,
  examples: [["lockmgr doctor", "of the default database"], [
    "lockmgr doctor --url sqlite:app.db --json",
    "of another",
  ]],
  onSignal: "gives back",
  async run({ open, output, global, stopping }) {
    const redact = redactor([targetOf(global)]);
    const findings: Diagnostic[] = [{ what: "target", state: "ok", detail: redact(await targetInWords(global)) }];
    for await (const diagnostic of diagnose(open, stopping.signal)) {
      stopping.signal.throwIfAborted(); // not a problem of the database
      findings.push({ ...diagnostic, detail: redact(diagnostic.detail) });
    }
    const healthy = findings.every(({ state }) => state !== "problem");
    const lines = findings.map((diagnostic) => lineOf(diagnostic, output.paint));
    output.result(lines.join("\n"), { ok: healthy, findings });
    return healthy ? EXIT.done : EXIT.failed;
  },
};
