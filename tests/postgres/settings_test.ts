/**
 * Settings of roles, databases and callers' connections: right answers, or a refusal that names the setting.
 *
 * @module
 */
import { connect, type GuardClient, type Mode } from "@lockmgr/lockmgr";
import { postgresBackend, type PostgresExecutor } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { everyVerb } from "../conformance/settings.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server } from "./server.ts";

/** Settings that come together, and what a refusal says where they cannot work. */
interface Setting {
  readonly settings: Readonly<Record<string, string>>;
  readonly refused?: RegExp;
  /** What the server says of a statement that it ends. */
  readonly ended?: RegExp;
  /** The role is none that may do everything, and the table has a policy for rows. */
  readonly policy?: boolean;
}

const SETTINGS: readonly Setting[] = [
  {
    settings: {
      DateStyle: "SQL, DMY",
      IntervalStyle: "sql_standard",
      TimeZone: "Pacific/Kiritimati",
      extra_float_digits: "-15",
      bytea_output: "escape",
      xmloption: "document",
      xmlbinary: "hex",
      gin_fuzzy_search_limit: "1",
      password_encryption: "md5",
      check_function_bodies: "off",
      session_replication_role: "replica",
      synchronous_commit: "off",
    },
  },
  {
    settings: {
      DateStyle: "German",
      IntervalStyle: "postgres_verbose",
      TimeZone: "<+00:30>-0:30",
      array_nulls: "off",
      transform_null_equals: "on",
      quote_all_identifiers: "on",
      lc_messages: "C",
      lc_numeric: "C",
      lc_monetary: "C",
      lc_time: "C",
      application_name: 'it\'s "odd" $1 \\ %s',
      synchronous_commit: "local",
    },
  },
  { settings: { standard_conforming_strings: "off", backslash_quote: "on", escape_string_warning: "on" } },
  { settings: { standard_conforming_strings: "off", backslash_quote: "off" } },
  ...["read uncommitted", "read committed", "repeatable read", "serializable"].map((level) => ({
    settings: { default_transaction_isolation: level, default_transaction_deferrable: "on" },
  })),
  { settings: { default_transaction_read_only: "on" }, refused: /default_transaction_read_only/ },
  { settings: { statement_timeout: "1" }, ended: /due to statement timeout/ },
  { settings: { lock_timeout: "1" } },
  { settings: { idle_in_transaction_session_timeout: "3s" } },
  { settings: { row_security: "on" }, policy: true },
  { settings: { row_security: "off" }, policy: true, refused: /row-level security policy/ },
  { settings: { enable_indexscan: "off", enable_bitmapscan: "off", enable_indexonlyscan: "off", jit: "on" } },
  {
    settings: {
      enable_seqscan: "off",
      enable_nestloop: "off",
      enable_material: "off",
      enable_sort: "off",
      jit: "off",
      force_parallel_mode: "on",
      max_parallel_workers_per_gather: "4",
      parallel_setup_cost: "0",
      from_collapse_limit: "1",
      join_collapse_limit: "1",
      geqo_threshold: "2",
      cursor_tuple_fraction: "0",
      plan_cache_mode: "force_generic_plan",
      work_mem: "64",
      temp_buffers: "100",
      hash_mem_multiplier: "1",
    },
  },
  { settings: { search_path: "" } },
  { settings: { search_path: "hostile, public" } },
  { settings: { search_path: "hostile, pg_catalog, public" }, refused: /search_path has schema "hostile"/ },
  { settings: { search_path: "public, pg_catalog" } },
  {
    settings: {
      client_min_messages: "debug5",
      log_statement: "all",
      debug_print_plan: "on",
      default_tablespace: "",
      default_table_access_method: "heap",
      default_toast_compression: "pglz",
      track_activities: "off",
      lo_compat_privileges: "on",
      vacuum_defer_cleanup_age: "0",
      idle_session_timeout: "0",
      tcp_user_timeout: "0",
      commit_delay: "10",
    },
  },
  ...["SQL_ASCII", "UTF8"].map((client_encoding) => ({ settings: { client_encoding } })),
  ...["LATIN1", "EUC_JP"].map((client_encoding) => ({
    settings: { client_encoding },
    refused: new RegExp(`client_encoding is ${client_encoding}`),
  })),
];

/** Settings that a server of this version does not have are left out. */
async function known(settings: Setting["settings"]): Promise<[string, string][]> {
  await using sql = administrator();
  const rows = await sql`SELECT lower(name) AS name, context FROM pg_settings WHERE context IN ('user', 'superuser')`;
  const names = new Set(rows.map(({ name }) => name));
  return Object.entries(settings).filter(([name]) => names.has(name.toLowerCase()));
}

let roles = 0;

/** A role with these settings, and the address of the database for it. */
async function roleWith({ settings, policy }: Setting): Promise<string> {
  await using sql = administrator();
  const role = `hostile_${roles++}`;
  await sql.unsafe(`CREATE ROLE ${role} LOGIN ${policy ? "" : "SUPERUSER"}`);
  for (const [name, value] of await known(settings)) {
    const text = name === "search_path" && value !== "" ? value : `'${value.replaceAll("'", "''")}'`;
    await sql.unsafe(`ALTER ROLE ${role} SET ${name} = ${text}`);
  }
  return server.urlOf("postgres", role);
}

/** Lets every role use the table, by a policy that shows it every row. */
async function addPolicy(table: string): Promise<void> {
  await using sql = administrator();
  await sql.unsafe(`GRANT ALL ON ${table}, ${table}_token TO PUBLIC`);
  await sql.unsafe(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY; CREATE POLICY every_row ON ${table} USING (true)`);
}

/** Functions and operators that hide those of the server where their schema comes first. */
const HOSTILE = `
  CREATE SCHEMA hostile;
  CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz 'epoch' $$;
  CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz 'epoch' $$;
  CREATE FUNCTION hostile.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'hostile' $$;
  CREATE FUNCTION hostile.convert_from(bytea, text) RETURNS text LANGUAGE sql AS $$ SELECT 'hostile' $$;
  CREATE FUNCTION hostile.starts_with(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
  CREATE FUNCTION hostile.date_part(text, timestamptz) RETURNS float8 LANGUAGE sql AS $$ SELECT 0::float8 $$;
  CREATE FUNCTION hostile.pg_backend_pid() RETURNS integer LANGUAGE sql AS $$ SELECT 0 $$;
  CREATE FUNCTION hostile.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
  CREATE FUNCTION hostile.pg_advisory_unlock(bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
  CREATE FUNCTION hostile.pg_try_advisory_xact_lock_shared(bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
  CREATE FUNCTION hostile.is_after(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
  CREATE OPERATOR hostile.> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = hostile.is_after);
  CREATE TABLE hostile.lockmgr_locks (name text)`;
{
  await using sql = administrator();
  await sql.unsafe(HOSTILE);
}

/**
 * Each way to a server whose connections have settings of their own. Drivers ask for UTF-8 when they connect, which
 * overrules an encoding of the role: only connections of the program can have another.
 */
const WAYS: Record<
  string,
  (
    url: string,
    table: string,
    encoding?: string,
  ) => Promise<AsyncDisposable & { backend: Awaited<ReturnType<typeof connect>> }>
> = {
  async "lease by a URL"(url, table) {
    const backend = await connect(url, { table });
    return { backend, [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose]() };
  },
  async "hybrid by a URL"(url, table) {
    const backend = await connect(url, { table, mode: "hybrid" as Mode });
    return { backend, [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose]() };
  },
  async "a sql of postgres.js"(url, table, encoding = "UTF8") {
    const connection = { client_encoding: encoding };
    const sql = postgres(url, { max_lifetime: null, max: 2, fetch_types: false, onnotice: () => {}, connection }); // the driver does not catch errors of its own
    const backend = await postgresBackend(sql, { table }).catch(async (error) => {
      await sql.end();
      throw error;
    });
    return {
      backend,
      async [Symbol.asyncDispose]() {
        await backend[Symbol.asyncDispose]();
        await sql.end();
      },
    };
  },
  async "a function over a pool of pg"(url, table, encoding = "UTF8") {
    const pool = new pg.Pool({ connectionString: url, max: 2 });
    pool.on("error", () => {});
    pool.on("connect", (client: pg.Client) => void client.query(`SET client_encoding = '${encoding}'`).catch(() => {}));
    const query: PostgresExecutor = (text, values) =>
      pool.query(text, values).then(({ rows }: { rows: object[] }) => rows);
    const backend = await postgresBackend(query, { table }).catch(async (error) => {
      await pool.end();
      throw error;
    });
    return {
      backend,
      async [Symbol.asyncDispose]() {
        await backend[Symbol.asyncDispose]();
        await pool.end();
      },
    };
  },
};

/** Runs a body in a transaction under the same settings. */
async function inTransaction(url: string, body: (client: GuardClient) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("BEGIN");
    await body(client);
  } finally {
    await client.end();
  }
}

for (const setting of SETTINGS) {
  const { settings, refused, ended, policy } = setting;
  const { client_encoding: encoding } = settings;
  test(`settings: ${Object.entries(settings).map((pair) => pair.join(" = ")).join(", ")}`, async () => {
    const url = await roleWith(setting);
    for (const [way, open] of Object.entries(WAYS)) {
      const table = `public.${freshTable()}`;
      await using other = await connect(server.url, { table });
      if (policy) await addPolicy(table);
      const everything = async () => {
        await using opened = await open(url, table, encoding);
        await everyVerb(opened.backend, other, (body) => inTransaction(url, body));
      };
      try {
        if (ended) await assert.rejects(everything(), { name: "BackendError", retryable: true, message: ended });
        else if (refused && !(encoding && way.endsWith("by a URL"))) await assert.rejects(everything(), refused);
        else await everything();
      } catch (error) {
        throw new Error(`${way}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
}
