// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import type { Cell, Orm } from "../orm.ts";
import { load, prismaClient } from "../packages.ts";

/** What is the same on every engine. */
function cellOf(prisma: any, backend: Cell["backend"]): Cell {
  return {
    backend,
    guard: (lock, guarded) =>
      prisma.$transaction(async (tx: any) => {
        await lock.guard((text: string, parameters: string[]) => tx.$queryRawUnsafe(text, ...parameters));
        await guarded();
      }),
    guardOutside: (lock) =>
      lock.guard((text: string, parameters: string[]) => prisma.$queryRawUnsafe(text, ...parameters)),
    [Symbol.asyncDispose]: () => prisma.$disconnect(),
  };
}

async function mysql(url: string): Promise<Cell> {
  const { PrismaMariaDb } = load("@prisma/adapter-mariadb");
  const prisma = new (await prismaClient("mysql"))({ adapter: new PrismaMariaDb(url) });
  return cellOf(prisma, async () => {
    const execute = (sql: string) => prisma.$queryRawUnsafe(sql);
    await assert.rejects(mysqlBackend(execute), /the function answered an array without insertId/);
    return await mysqlBackend(url);
  });
}

async function postgres(connectionString: string): Promise<Cell> {
  const { PrismaPg } = load("@prisma/adapter-pg");
  const prisma = new (await prismaClient("postgresql"))({ adapter: new PrismaPg({ connectionString }) });
  return cellOf(prisma, () => postgresBackend((text, parameters) => prisma.$queryRawUnsafe(text, ...parameters)));
}

async function sqlite(filename: string): Promise<Cell> {
  const { PrismaLibSql } = load("@prisma/adapter-libsql");
  const prisma = new (await prismaClient("sqlite"))({ adapter: new PrismaLibSql({ url: `file:${filename}` }) });
  return cellOf(prisma, () => sqliteBackend(filename));
}

/** https://www.prisma.io */
export const prisma: Orm = { name: "Prisma", engines: { postgres, mysql, mariadb: mysql, sqlite } };
