/**
 * Makes the tarball for npm: what `deno pack` makes, its modules bundled, and what it cannot yet say: the command
 * `lockmgr`, the supported versions of Node, and drivers that a program installs only when it wants that engine.
 *
 * `deno task pack [FILE]`, by default `lockmgr-lockmgr-VERSION.tgz`.
 *
 * @module
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { rollup } from "rollup";
import { lower } from "../tests/running/lowering.ts";
import { command } from "../tests/runtimes/command.ts";

/** Packages that are imported, or whose pools are taken, only where their engine is used. */
const OPTIONAL = ["postgres", "mysql2", "pg"];

/** What people search npm for. */
const KEYWORDS = [
  ...["lock", "distributed-lock", "mutex", "lease", "advisory-lock", "fencing-token", "leader-election", "cron"],
  ...["sqlite", "postgres", "postgresql", "mysql", "mariadb", "deno", "bun"],
];

/** The first line of a program: npm links the file itself, and `import.meta.main` is true in it. */
const SHEBANG = "#!/usr/bin/env node\n";

async function run(program: string, ...parameters: string[]): Promise<void> {
  const { code, output } = await command(program, parameters);
  if (code !== 0) throw new Error(`Cannot run ${program} ${parameters.join(" ")}: it ended with ${code}\n${output}`);
}

/** Where an entry point's module and its declarations are. */
type Exports = Record<string, { types: string; import: string }>;

/**
 * What the declarations need besides a language of 2022: the types of `using`, and names of the web platform for
 * programs with neither the library `dom` nor `@types/node`, which add to these interfaces.
 */
const GLOBALS = `/// <reference lib="esnext.disposable" />
interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: any;
}
interface URL {}
`;

/** Where the sources are, which npm compares with the place that a workflow publishes from. */
function repository(): Record<string, unknown> {
  const { GITHUB_SERVER_URL = "https://github.com", GITHUB_REPOSITORY } = process.env;
  if (!GITHUB_REPOSITORY) return {}; // only there it is sure
  const address = `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}`;
  return { repository: { type: "git", url: `git+${address}.git` }, bugs: { url: `${address}/issues` } };
}

/** What `package.json` says besides what `deno pack` has written of `deno.json`, such as whose pools are taken. */
function complete(manifest: Record<string, unknown>, imports: Record<string, string>): Record<string, unknown> {
  const { dependencies = {}, exports, ...rest } = manifest as {
    dependencies?: Record<string, string>;
    exports: Exports;
  };
  const entries = Object.entries(dependencies);
  const optional = OPTIONAL.map((name) => [name, /@([^@]+)$/.exec(imports[name])![1]]);
  return {
    ...rest,
    exports,
    typesVersions: { "*": typesByEntry(exports) },
    description: "Distributed locks on the database that you already have: SQLite, PostgreSQL, MySQL, MariaDB",
    keywords: KEYWORDS,
    homepage: `https://jsr.io/${manifest.name}`,
    ...repository(),
    bin: { lockmgr: "./cli.js" },
    engines: { node: ">=22.13" },
    publishConfig: { access: "public" },
    sideEffects: ["./cli.js"],
    dependencies: Object.fromEntries(entries.filter(([name]) => !OPTIONAL.includes(name))),
    peerDependencies: Object.fromEntries(optional),
    peerDependenciesMeta: Object.fromEntries(optional.map(([name]) => [name, { optional: true }])),
  };
}

/**
 * Bundles the entry points in place. What several of them need is in shared files, so an error class is the same in
 * all; an engine stays in a file of its own that is loaded when first used. The declarations stay as they are.
 */
async function bundle(files: string, exports: Exports): Promise<void> {
  const entries = Object.values(exports).map((entry) => entry.import.slice("./".length, -".js".length));
  const paths = (await readdir(files, { recursive: true })).filter((path) => path.endsWith(".js"));
  const build = await rollup({
    input: Object.fromEntries(entries.map((entry) => [entry, join(files, `${entry}.js`)])),
    external: (specifier) => !/^[./]/.test(specifier),
    onwarn: (warning) => {
      throw new Error(`Cannot bundle the package: ${warning.message}`);
    },
  });
  const { output } = await build.generate({
    chunkFileNames: "shared/[name].js",
    hoistTransitiveImports: false,
    minifyInternalExports: false,
  });
  for (const path of paths) await rm(join(files, path));
  for (const chunk of output) {
    const path = join(files, chunk.fileName);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, chunk.type === "chunk" ? chunk.code : chunk.source);
  }
}

/** The declarations of each further entry point, for compilers that do not read `exports` (`moduleResolution: node10`). */
function typesByEntry(exports: Exports): Record<string, string[]> {
  const entries = Object.entries(exports).filter(([entry]) => entry !== ".");
  return Object.fromEntries(entries.map(([entry, { types }]) => [entry.slice("./".length), [types]]));
}

/** Lets the declarations of every entry point bring the global types that they need. */
async function bringGlobals(files: string, exports: Exports): Promise<void> {
  await writeFile(join(files, "globals.d.ts"), GLOBALS);
  for (const { types } of Object.values(exports)) {
    const path = join(files, types);
    const globals = relative(dirname(path), join(files, "globals.d.ts"));
    await writeFile(path, `/// <reference path="${globals}" />\n${await readFile(path, "utf8")}`);
  }
}

const directory = await mkdtemp(join(tmpdir(), "lockmgr-pack-"));
try {
  const raw = join(directory, "raw.tgz");
  await run(process.execPath, "pack", "--quiet", "--allow-dirty", "--no-source-maps", "-o", raw);
  await run("tar", "-xzf", raw, "-C", directory);
  const files = join(directory, "package");
  const path = join(files, "package.json");
  const { imports } = JSON.parse(await readFile("deno.json", "utf8"));
  const manifest = complete(JSON.parse(await readFile(path, "utf8")), imports);
  await writeFile(path, `${JSON.stringify(manifest, null, 2)}\n`);
  await lower(join(files, "tests"), ".js");
  await bundle(files, manifest.exports as Exports);
  await bringGlobals(files, manifest.exports as Exports);
  const cli = join(files, "cli.js");
  await writeFile(cli, SHEBANG + await readFile(cli, "utf8"));
  await chmod(cli, 0o755);
  const target = resolve(process.argv[2] ?? `lockmgr-lockmgr-${manifest.version}.tgz`);
  await run("tar", "-czf", target, "-C", directory, "package");
  console.log(target);
} finally {
  await rm(directory, { recursive: true, force: true });
}
