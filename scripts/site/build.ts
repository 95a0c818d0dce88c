/**
 * Builds the documentation site: `deno task site` writes it into `site/`, from the Markdown pages as they are and the
 * reference of `deno doc`. `--serve` shows it afterwards, `--base /lockmgr/` builds it for a folder of a host.
 *
 * VitePress works on copies in a folder of its own, with the front page, and pages for the sources that others link to.
 *
 * @module
 */
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, extname, join, posix, relative, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { pages } from "../../tests/docs/pages.ts";
import { command } from "../../tests/runtimes/command.ts";
import { homeOf } from "./home.ts";
import { serve } from "./serve.ts";

const OUTPUT = resolve("site");
const PORT = 4173;
/** Without fonts of its own. A string, because only the folder of VitePress resolves it. */
const THEME = 'export { default } from "vitepress/theme-without-fonts";\n';

async function run(parameters: readonly string[], cwd?: string): Promise<void> {
  const { code, output } = await command(process.execPath, parameters, { cwd });
  if (code !== 0) throw new Error(`Cannot run deno ${parameters.join(" ")}: it ended with ${code}\n${output}`);
}

/** Copies a page. Links to sources become links to pages that show them; returns those, and the pictures. */
async function stagePage(page: string, stage: string): Promise<{ sources: string[]; pictures: string[] }> {
  const sources: string[] = [], pictures: string[] = [];
  const text = await readFile(page, "utf8");
  const staged = text.replaceAll(/^```[^]*?^```$|\]\(([^)\s#]+)\)/gm, (match, target?: string) => {
    if (target === undefined || /^[a-z]+:/.test(target) || target.endsWith(".md")) return match;
    const file = posix.join(posix.dirname(page), target);
    if (target.endsWith(".svg")) pictures.push(file);
    else sources.push(file);
    return target.endsWith(".svg") ? match : `](${target}.md)`;
  });
  await mkdir(dirname(join(stage, page)), { recursive: true });
  await writeFile(join(stage, page), staged);
  return { sources, pictures };
}

/** Makes a page that shows a source. */
async function stageSource(file: string, stage: string): Promise<void> {
  const text = await readFile(file, "utf8");
  const title = `---\ntitle: ${basename(file)}\naside: false\n---\n\n# ${file}\n\n`;
  await mkdir(dirname(join(stage, file)), { recursive: true });
  await writeFile(join(stage, `${file}.md`), `${title}\`\`\`\`${extname(file).slice(1) || "txt"}\n${text}\`\`\`\`\n`);
}

async function stageAll(stage: string): Promise<void> {
  const found = await Promise.all((await pages()).map((page) => stagePage(page, stage)));
  for (const file of new Set(found.flatMap(({ sources }) => sources))) await stageSource(file, stage);
  for (const file of found.flatMap(({ pictures }) => pictures)) await cp(file, join(stage, file));
  await writeFile(join(stage, "index.md"), homeOf(await readFile("README.md", "utf8")));
  const settings = join(stage, ".vitepress");
  await cp("scripts/site/vitepress", settings, { recursive: true });
  await mkdir(join(settings, "theme"));
  await writeFile(join(settings, "theme", "index.ts"), THEME);
  for (const file of ["deno.json", "deno.lock"]) await cp(join("scripts/site", file), join(stage, file));
}

/** Gives the pages of the reference a link to the others, and imports by the name of the package. */
async function finishReference(): Promise<void> {
  const { name } = JSON.parse(await readFile("deno.json", "utf8"));
  for (const file of await readdir(join(OUTPUT, "api"), { recursive: true })) {
    if (!file.endsWith(".html")) continue;
    const path = join(OUTPUT, "api", file);
    const home = relative(dirname(path), join(OUTPUT, "index.html"));
    const text = (await readFile(path, "utf8"))
      .replace('<div class="flex items-center gap-2">', `$&<a href="${home}" class="contextLink">Documentation</a>`)
      .replaceAll(/(?<=\} from &quot;)(?:\.|[\w-]+)(?=&quot;;)/g, (entry) => entry === "." ? name : `${name}/${entry}`);
    await writeFile(path, text);
  }
}

const { values: { base, serve: serving } } = parseArgs({
  options: { base: { type: "string", default: "/" }, serve: { type: "boolean" } },
});
const stage = await realpath(await mkdtemp(join(tmpdir(), "lockmgr-site-")));
try {
  await stageAll(stage);
  await rm(OUTPUT, { recursive: true, force: true });
  await run(["install", "--frozen", "--quiet"], stage);
  await run(["run", "-A", "npm:vitepress", "build", "--outDir", OUTPUT, "--base", base], stage);
  await run(["task", "api"]);
  await finishReference();
} finally {
  await rm(stage, { recursive: true, force: true });
}
console.log(OUTPUT);
if (serving) {
  await serve(OUTPUT, PORT);
  console.log(`http://localhost:${PORT}/`);
}
