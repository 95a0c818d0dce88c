/**
 * The ORMs and query builders, installed once into the cache of the tests.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { command } from "../runtimes/command.ts";
import { installed, programOf } from "../runtimes/installing.ts";
import { runtimes } from "../runtimes/runtimes.ts";

/** The packages of MikroORM and of Prisma want each other's exact version, and new ones are not served all at once. */
const MIKRO_ORM = "7.2.1";
const PRISMA = "7.9.1";

const PACKAGES = {
  "@mikro-orm/core": MIKRO_ORM,
  "@mikro-orm/mariadb": MIKRO_ORM,
  "@mikro-orm/mysql": MIKRO_ORM,
  "@mikro-orm/postgresql": MIKRO_ORM,
  "@mikro-orm/sqlite": MIKRO_ORM,
  "@prisma/adapter-libsql": PRISMA,
  "@prisma/adapter-mariadb": PRISMA,
  "@prisma/adapter-pg": PRISMA,
  "@prisma/client": PRISMA,
  "drizzle-orm": "^0.45.0",
  "knex": "^3.1.0",
  "kysely": "^0.29.0",
  "mariadb": "^3.4.0",
  "mysql2": "^3.6.0",
  "pg": "^8.11.0",
  "prisma": PRISMA,
  "sequelize": "^6.37.0",
  "typeorm": "^1.0.0",
};

/** better-sqlite3 comes without its program unless an install script may run; libsql has the same interface, and one. */
const SQLITE = { "better-sqlite3": "npm:libsql@^0.5.29" };

const directory = await installed({ ...PACKAGES, ...SQLITE }, SQLITE);

/** Loads one of the packages. */
export const load = createRequire(join(directory, "package.json"));

/** Returns the constructor of Prisma's client for an engine, generated once. */
export async function prismaClient(provider: "postgresql" | "mysql" | "sqlite") {
  const output = join(directory, `prisma-${provider}`);
  if (!existsSync(output)) {
    const making = `${output}.${process.pid}`;
    await generate(making, provider);
    await rename(join(making, "client"), output).catch((error) => {
      if (!existsSync(output)) throw error; // else another runtime was faster
    });
    await rm(making, { recursive: true });
  }
  return load(join(output, "index.js")).PrismaClient;
}

async function generate(making: string, provider: string): Promise<void> {
  await mkdir(making);
  const schema = join(making, "schema.prisma");
  const client = 'generator client {\n  provider = "prisma-client-js"\n  output   = "./client"\n}\n';
  await writeFile(schema, `${client}datasource db {\n  provider = "${provider}"\n}\nmodel Entry {\n  id Int @id\n}\n`);
  const env = { PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, PRISMA_HIDE_UPDATE_MESSAGE: "1" }; // neither used nor fetched
  const parameters = [load.resolve("prisma/build/index.js"), "generate", "--schema", schema];
  const { code, output } = await command(await programOf(runtimes[0]), parameters, { cwd: directory, env });
  if (code !== 0) throw new Error(`Cannot generate Prisma's client: it ended with ${code}\n${output}`);
}
