import type { Diagnostic } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { diagnose } from "../diagnosis.ts";
import { EXIT } from "../exit_codes.ts";
import type { Paint } from "../formats/paint.ts";
import { visible } from "../formats/text.ts";
import { targetInWords, targetOf } from "../opening.ts";
import { redactor } from "../secrets.ts";

/** A finding, and beneath it what to do. */
function lineOf({ what, state, detail, advice }: Diagnostic, paint: Paint): string {
  const colour = { ok: paint.good, note: paint.faint, warning: paint.warning, problem: paint.bad }[state];
  const line = `${colour(state.padEnd(8))} ${what.padEnd(14)} ${visible(detail)}`;
  return advice === undefined ? line : `${line}\n${" ".repeat(24)}${visible(advice)}`;
}

/** `doctor`: looks for what is wrong. */
export const doctor: CommandSpec = {
  name: "doctor",
  summary: "diagnose the database, and say what to do about what is wrong",
  description: `Can it be reached, which version and which modes does it have, is the table there
and right, can a lock be taken and released, do the clocks agree. Creates no table;
takes a lock named "lockmgr:doctor" for a moment if the table is there. Exit code 1
when there is a problem.`,
  examples: [["lockmgr doctor", "of the default database"], [
    "lockmgr doctor --url sqlite:app.db --json",
    "of another",
  ]],
  onSignal: "gives back",
  define: (command) => command,
  async run({ open, output, global, stopping }) {
    const redact = redactor([targetOf(global)]);
    const findings: Diagnostic[] = [{ what: "target", state: "ok", detail: redact(await targetInWords(global)) }];
    for await (const finding of diagnose(open, stopping.signal)) {
      stopping.signal.throwIfAborted(); // not a problem of the database
      findings.push({ ...finding, detail: redact(finding.detail) });
    }
    const healthy = findings.every(({ state }) => state !== "problem");
    const lines = findings.map((finding) => lineOf(finding, output.paint));
    output.result(lines.join("\n"), { ok: healthy, findings });
    return healthy ? EXIT.done : EXIT.failed;
  },
};
