/**
 * Debian's Chromium without a window, from its packages, and what a test does with its pages.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, copyFile, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { commandIn, unpack } from "../servers/debian.ts";
import { Connection, Page } from "./page.ts";

const PROGRAMS = { suite: "bookworm", packages: ["chromium-headless-shell", "fonts-dejavu-core"] };

/** The fonts of the prefix alone, by the names that style sheets ask for. */
const fontsOf = (prefix: string, directory: string) =>
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${prefix}/usr/share/fonts</dir>
  <cachedir>${directory}/fonts</cachedir>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
`;

/**
 * Writes the script that starts the browser: it starts itself again for each page, by the same script. It looks for its
 * data beside its program, which is the loader, so the loader has to be there.
 */
async function scriptFor(prefix: string, directory: string): Promise<string> {
  const folder = join(prefix, "usr/lib/chromium");
  const [loader, ...libraries] = await commandIn(prefix, "usr/lib/chromium/chromium-headless-shell");
  const beside = join(folder, "loader");
  await copyFile(loader, `${beside}.${process.pid}`);
  await rename(`${beside}.${process.pid}`, beside);
  const [option, paths, program] = libraries;
  const sound = paths.split(":").map((path) => join(path, "pulseaudio"));
  const command = [beside, option, [paths, ...sound].join(":"), program].map((word) => `'${word}'`).join(" ");
  const script = join(directory, "chromium");
  await writeFile(script, `#!/bin/sh\nexec ${command} "$@"\n`);
  await chmod(script, 0o755);
  return script;
}

/** A running browser. */
export class Chromium implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #directory: string;
  readonly #connection: Connection;

  private constructor(process: ChildProcess, directory: string, connection: Connection) {
    this.#process = process;
    this.#directory = directory;
    this.#connection = connection;
  }

  /** Fetches it if it is not there; returns the folder that it is in. */
  static fetch(): Promise<string> {
    return unpack(PROGRAMS);
  }

  /** Starts a browser. */
  static async start(): Promise<Chromium> {
    const prefix = await Chromium.fetch();
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-chromium-"));
    const script = await scriptFor(prefix, directory);
    const fonts = join(directory, "fonts.conf");
    await writeFile(fonts, fontsOf(prefix, directory));
    const parameters = [
      "--remote-debugging-port=0",
      `--user-data-dir=${join(directory, "profile")}`,
      `--browser-subprocess-path=${script}`,
      "--no-sandbox", // it shows only pages of ours, also to root
      "--no-zygote",
      "--disable-gpu",
      "--hide-scrollbars",
      "--window-size=1280,1000",
    ];
    const child = spawn(script, parameters, {
      env: { ...process.env, FONTCONFIG_FILE: fonts },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const said: string[] = [];
    for await (const line of createInterface({ input: child.stderr })) {
      said.push(line);
      const [, address] = /^DevTools listening on (ws:\S+)$/.exec(line) ?? [];
      if (address) {
        child.stderr.resume();
        return new Chromium(child, directory, await Connection.open(address));
      }
    }
    throw new Error(`Cannot start Chromium:\n${said.join("\n")}`);
  }

  /** Opens an empty page. */
  open(): Promise<Page> {
    return Page.open(this.#connection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "close");
    await this.#connection.close();
    await ended;
    await rm(this.#directory, { recursive: true, force: true });
  }
}
