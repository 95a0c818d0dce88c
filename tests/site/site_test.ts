import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { serve } from "../../scripts/site/serve.ts";
import { pages as markdownPages } from "../docs/pages.ts";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { Chromium } from "./chromium.ts";
import { crawl } from "./crawl.ts";
import type { Page } from "./page.ts";

const SITE = "site";
/** Pages that are loaded at the same time. */
const TABS = 2;
/** The pages of the reference for single symbols are of a few kinds: a browser loads one of so many. */
const SYMBOLS_PER_VISIT = 20;
/** True once VitePress has taken over the page that it had rendered. */
const READY = 'document.querySelector("#app").__vue_app__';

async function buildSite(): Promise<void> {
  const { code, output } = await command(process.execPath, ["task", "site"]);
  assert.equal(code, 0, output);
}

await Promise.all([buildSite(), Chromium.fetch()]); // once for all tests

/** Serves the site, and opens a browser. */
async function browse(run: (browser: Chromium, address: string) => Promise<void>): Promise<void> {
  await using browser = await Chromium.start();
  const server = await serve(SITE, 0);
  try {
    await run(browser, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  }
}

test("every link and anchor of the site leads somewhere, and every page is linked", async () => {
  const { broken, unreachable } = await crawl(SITE);
  assert.deepEqual({ broken, unreachable }, { broken: [], unreachable: [] });
});

test("every page of the site loads in a browser, with its pictures", () =>
  browse(async (browser, address) => {
    const { pages } = await crawl(SITE);
    const left = pages.filter((page, index) => !page.includes("~") || index % SYMBOLS_PER_VISIT === 0);
    const wrong: string[] = [];
    const pictures = new Map<string, number>();
    const visit = async (tab: Page, page: string): Promise<void> => {
      await tab.goTo(`${address}/${page}`);
      if (!page.startsWith("api/")) await tab.until(READY);
      const widths = await tab.evaluate<number[]>("Array.from(document.images, ({ naturalWidth }) => naturalWidth)");
      if (tab.interrupted) return await visit(tab, page);
      if (widths.includes(0)) wrong.push(`${page}: a picture is missing`);
      if (tab.problems.length > 0) wrong.push(`${page}: ${tab.problems.join("; ")}`);
      pictures.set(page, widths.length);
    };
    await Promise.all(Array.from({ length: TABS }, async () => {
      const tab = await browser.open();
      for (let page = left.pop(); page !== undefined; page = left.pop()) await visit(tab, page);
    }));
    assert.deepEqual(wrong, []);
    for (const page of await markdownPages()) {
      const expected = (await readFile(page, "utf8")).match(/^!\[.*\]\(.*\)$/gm)?.length ?? 0;
      assert.equal(pictures.get(page.replace(/md$/, "html")), expected, `pictures of ${page}`);
    }
    assert.equal(pictures.get("index.html"), 1, "the front page shows lockmgr watch");
  }));

/** Opens the search, types a word, and returns the addresses of what is found. */
async function search(page: Page, word: string): Promise<string[]> {
  await page.evaluate('document.querySelector(".VPNavBarSearch button").click()');
  await page.until('document.activeElement?.matches(".VPLocalSearchBox input")');
  await page.call("Input.insertText", { text: word });
  await page.until('document.querySelector(".VPLocalSearchBox a.result")');
  return await page.evaluate("Array.from(document.querySelectorAll('.VPLocalSearchBox a.result'), ({ href }) => href)");
}

test("the search finds pages by a word in them", () =>
  browse(async (browser, address) => {
    const page = await browser.open();
    await page.goTo(`${address}/index.html`);
    await page.until(READY);
    const [first] = await search(page, "hybrid");
    const found = await browser.open();
    await found.goTo(first);
    await found.until(READY);
    assert.match(await found.evaluate<string>("document.body.innerText"), /hybrid/);
    assert.deepEqual([...page.problems, ...found.problems], []);
  }));

/** The colours of the page and of the picture in it, as the reader sees them. */
async function coloursOf(page: Page): Promise<{ background: string; picture: string }> {
  const background = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
  const [x, y] = await page.evaluate<number[]>(`(() => {
    const { left, top } = document.images[0].getBoundingClientRect();
    return [left + scrollX + 5, top + scrollY + 10];
  })()`);
  const clip = { x, y, width: 1, height: 1, scale: 1 };
  const { data } = await page.call("Page.captureScreenshot", { clip, captureBeyondViewport: true });
  return { background, picture: data };
}

test("the site is dark or light as the reader's system is, until the reader chooses", () =>
  browse(async (browser, address) => {
    const page = await browser.open();
    const prefer = async (value: string) => {
      await page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
      await page.goTo(`${address}/docs/command-line.html`);
      await page.until(READY);
      return await coloursOf(page);
    };
    const [light, dark] = [await prefer("light"), await prefer("dark")];
    assert.notEqual(light.background, dark.background);
    assert.notEqual(light.picture, dark.picture, "the picture follows");
    await page.evaluate('document.querySelector(".VPSwitchAppearance").click()');
    await page.until('!document.documentElement.classList.contains("dark")');
    assert.deepEqual(await coloursOf(page), light);
  }));
