/**
 * Follows the links of the site's files.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** What one page has. */
interface Links {
  readonly links: readonly string[];
  readonly anchors: ReadonlySet<string>;
}

function decoded(text: string): string {
  const entities: Readonly<Record<string, string>> = { amp: "&", quot: '"', lt: "<", gt: ">", "#x2F": "/", "#39": "'" };
  return text.replaceAll(/&([a-z]+|#\w+);/g, (match, name) => entities[name] ?? match);
}

function linksOf(html: string): Links {
  const attributes = (name: RegExp) => Array.from(html.matchAll(name), ([, value]) => decoded(value));
  return {
    links: attributes(/<[a-z][^>]*?\s(?:href|src)="([^"]*)"/g),
    anchors: new Set(attributes(/<[a-z][^>]*?\sid="([^"]*)"/g)),
  };
}

/** What was found from the front page. */
export interface Crawl {
  /** Every page of the folder, by path. */
  readonly pages: readonly string[];
  /** Links within the site that lead nowhere, as `page: link`. */
  readonly broken: readonly string[];
  /** Pages that no link leads to. */
  readonly unreachable: readonly string[];
}

/** Reads every page of a folder, and follows its links from `index.html`. */
export async function crawl(directory: string): Promise<Crawl> {
  const files = new Set((await readdir(directory, { recursive: true })).map((file) => file.replaceAll("\\", "/")));
  const pages = [...files].filter((file) => file.endsWith(".html")).sort();
  const read = async (page: string) => [page, linksOf(await readFile(join(directory, page), "utf8"))] as const;
  const byPage = new Map(await Promise.all(pages.map(read)));
  const broken: string[] = [];
  const reached = new Set(["index.html", "404.html"]); // a server shows the second
  for (const page of reached) {
    for (const link of byPage.get(page)?.links ?? []) {
      if (/^[a-z]+:/.test(link)) continue;
      const { pathname, hash } = new URL(link, `http://site/${page}`);
      const path = decodeURIComponent(pathname).slice(1);
      const file = path === "" || path.endsWith("/") ? `${path}index.html` : path;
      const anchor = decodeURIComponent(hash.slice(1));
      const there = files.has(file) && (anchor === "" || byPage.get(file)?.anchors.has(anchor) !== false);
      if (!there) broken.push(`${page}: ${link}`);
      else if (byPage.has(file)) reached.add(file);
    }
  }
  return { pages, broken, unreachable: pages.filter((page) => !reached.has(page)) };
}
