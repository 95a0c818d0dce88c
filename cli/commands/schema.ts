import { UnsupportedError } from "../../mod.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT } from "../exit_codes.ts";
import { targetOf } from "../opening.ts";

/** A server's URL, as against a file: only a server is asked for its DDL by its own connection. */
const SERVER = /^(?!file:)[a-z][a-z0-9+.-]+:\/\//i;

/** The same engine and settings without the file, which looking at DDL shall not create. */
function withoutFile(target: string | undefined): string | undefined {
  if (target !== undefined && SERVER.test(target)) return target;
  const query = /^(?:sqlite|file):[^?]*(\?.*)$/is.exec(target ?? "")?.[1] ?? "";
  return `sqlite::memory:${query}`;
}

/** `schema`: prints the DDL. */
export const schema: CommandSpec = {
  name: "schema",
  summary: "print the statements that create the table",
  description: `For databases in which programs may not create tables: run them by hand or add them
to your migrations, and connect with "?lockmgr_migrate=false". Nothing is changed.`,
  examples: [
    ["lockmgr schema", "for an SQLite file"],
    ["lockmgr schema --table app.locks --url sqlite:app.db", "for another table"],
  ],
  define: (command) => command,
  async run({ open, output, global }) {
    const backend = await open({ url: withoutFile(targetOf(global)), migrate: false });
    if (backend.schema === undefined) {
      throw new UnsupportedError(`Cannot print the schema of ${backend.engine}: it has no table`);
    }
    const ddl = backend.schema();
    output.result(ddl, { engine: backend.engine, ddl });
    return EXIT.done;
  },
};
