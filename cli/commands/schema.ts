import { schemaOf } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { targetOf } from "../opening.ts";

/** `schema`: prints the DDL. */
export const schema: CommandSpec = {
  name: "schema",
  summary: "print the statements that create the table",
  description: `For databases in which programs may not create tables: run them by hand or add them
to your migrations, and connect with "?lockmgr_migrate=false". Nothing is opened.`,
  examples: [
    ["lockmgr schema", "for an SQLite file"],
    ["lockmgr schema --table app.locks --url sqlite:app.db", "for another table"],
  ],
  async run({ output, global }) {
    const ddl = await schemaOf(targetOf(global), global.table === undefined ? {} : { table: global.table });
    output.result(ddl, { ddl });
    return EXIT.done;
  },
};
