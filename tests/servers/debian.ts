/**
 * Programs from Debian's archive, unpacked beside the system: nothing is installed, nothing of the machine changes.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../cache/cache.ts";

const run = promisify(execFile);
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** The archive that this machine itself takes its packages from. */
async function archive(): Promise<string> {
  const { stdout } = await run("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
  const address = stdout.split("\n").find((line) => /\/debian\/?$/.test(line));
  if (address === undefined) throw new Error("Cannot find Debian's archive in apt's settings: want a Debian machine");
  return address;
}

/** Lists of packages are fetched again after this time: the archive keeps each package for longer. */
const LISTS_FRESH_FOR_MS = 3_600_000;

/** What makes apt work in a directory of its own, as on a machine where nothing is installed. */
function privateApt(directory: string): string[] {
  const settings = {
    "Dir::Etc::sourcelist": join(directory, "sources.list"),
    "Dir::Etc::sourceparts": join(directory, "parts"),
    "Dir::Etc::preferencesparts": join(directory, "parts"),
    "Dir::State::Lists": join(directory, "lists"),
    "Dir::State::status": join(directory, "status"),
    "Dir::Cache": directory,
    "Dir::Log": directory,
    "Debug::NoLocking": "1",
    "APT::Sandbox::User": "",
    "APT::Install-Recommends": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
    "APT::Update::Error-Mode": "any", // otherwise an update without the lists succeeds
  };
  return Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
}

/** Fetches the lists of a release's packages; returns the options that make apt use them. */
async function listsOf(suite: string): Promise<string[]> {
  const directory = await cached(`apt-${suite}`, async (directory) => {
    await mkdir(join(directory, "lists", "partial"), { recursive: true });
    await mkdir(join(directory, "parts"));
    await writeFile(join(directory, "status"), "");
    await writeFile(join(directory, "sources.list"), `deb [signed-by=${KEYRING}] ${await archive()} ${suite} main\n`);
    await run("apt-get", [...privateApt(directory), "update"]);
  }, LISTS_FRESH_FOR_MS);
  return privateApt(directory);
}

/** What to unpack. */
export interface Programs {
  /** The release they come from, such as `"bookworm"`. */
  suite: string;
  /** Packages with all that they need. */
  packages: string[];
  /** Packages of which only their own files are wanted. */
  alone?: string[];
}

/** Unpacks packages of a Debian release into one directory, once, and answers where. */
export function unpack({ suite, packages, alone = [] }: Programs): Promise<string> {
  return cached([suite, ...packages, ...alone].join("+"), async (prefix) => {
    const archives = join(prefix, "archives");
    await mkdir(join(archives, "partial"), { recursive: true });
    const options = [...await listsOf(suite), "-o", `Dir::Cache::archives=${archives}`];
    await run("apt-get", [...options, "install", "--yes", "--download-only", ...packages]);
    if (alone.length > 0) await run("apt-get", [...options, "download", ...alone], { cwd: archives });
    for (const file of await readdir(archives)) {
      if (file.endsWith(".deb")) await run("dpkg", ["--extract", join(archives, file), prefix]);
    }
    await rm(archives, { recursive: true });
  });
}

/** How to start a program of an unpacked prefix: through that prefix's own loader, with its own libraries. */
export async function commandIn(prefix: string, program: string): Promise<[command: string, ...first: string[]]> {
  const libraries: string[] = [];
  for (const directory of ["usr/lib", "lib"]) {
    const names = existsSync(join(prefix, directory)) ? await readdir(join(prefix, directory)) : [];
    for (const name of names) if (name.endsWith("-linux-gnu")) libraries.push(join(prefix, directory, name));
  }
  for (const directory of libraries) {
    const loader = (await readdir(directory)).find((name) => /^ld-linux.*\.so\.\d+$/.test(name));
    if (loader) return [join(directory, loader), "--library-path", libraries.join(":"), join(prefix, program)];
  }
  throw new Error(`Cannot find the loader of ${prefix}: want libc6 among its packages`);
}
