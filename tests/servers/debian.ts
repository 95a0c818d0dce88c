/**
 * Programs from Debian's archive, unpacked beside the system: nothing is installed, nothing of the machine changes.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory } from "./tools.ts";

const run = promisify(execFile);
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * Makes a directory of the cache once, whoever asks first: several processes may, and only one result stays.
 *
 * @param name The directory's name; another one for another content.
 * @param fill Fills the directory it is given; when it throws, nothing stays.
 */
export async function cached(name: string, fill: (directory: string) => Promise<void>): Promise<string> {
  const target = join(cacheDirectory(), name);
  if (existsSync(target)) return target;
  const draft = await mkdtemp(join(cacheDirectory(), `${name}.`));
  try {
    await fill(draft);
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!existsSync(target)) throw error; // another process was faster
  }
  return target;
}

/** The archive that this machine itself takes its packages from. */
async function archive(): Promise<string> {
  const { stdout } = await run("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
  const address = stdout.split("\n").find((line) => /\/debian\/?$/.test(line));
  if (address === undefined) throw new Error("Cannot find Debian's archive in apt's settings: want a Debian machine");
  return address;
}

/** What makes apt work in a directory of its own, as on a machine where nothing is installed. */
async function privateApt(directory: string, suite: string): Promise<string[]> {
  await mkdir(join(directory, "lists", "partial"), { recursive: true });
  await mkdir(join(directory, "archives", "partial"), { recursive: true });
  await mkdir(join(directory, "parts"));
  await writeFile(join(directory, "status"), "");
  await writeFile(join(directory, "sources.list"), `deb [signed-by=${KEYRING}] ${await archive()} ${suite} main\n`);
  const settings = {
    "Dir::Etc::sourcelist": join(directory, "sources.list"),
    "Dir::Etc::sourceparts": join(directory, "parts"),
    "Dir::Etc::preferencesparts": join(directory, "parts"),
    "Dir::State::Lists": join(directory, "lists"),
    "Dir::State::status": join(directory, "status"),
    "Dir::Cache": directory,
    "Dir::Cache::archives": join(directory, "archives"),
    "Dir::Log": directory,
    "Debug::NoLocking": "1",
    "APT::Sandbox::User": "",
    "APT::Install-Recommends": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
  };
  return Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
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
    const apt = join(prefix, "apt");
    const options = await privateApt(apt, suite);
    await run("apt-get", [...options, "update"]);
    await run("apt-get", [...options, "install", "--yes", "--download-only", ...packages]);
    if (alone.length > 0) await run("apt-get", [...options, "download", ...alone], { cwd: join(apt, "archives") });
    for (const file of await readdir(join(apt, "archives"))) {
      if (file.endsWith(".deb")) await run("dpkg", ["--extract", join(apt, "archives", file), prefix]);
    }
    await rm(apt, { recursive: true });
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
