/**
 * What VitePress makes of the staged pages. Only `build.ts` runs it, in a folder where VitePress is installed.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { slugOf } from "./slug.ts";

/** The pages that a reader chooses from, by group. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  "Start": ["README", "docs/guide", "docs/recipes", "examples/README"],
  "Use it": ["docs/web-locks", "docs/orms", "docs/testing", "docs/moving", "docs/backends"],
  "Operate it": ["docs/command-line", "docs/observability"],
  "Trust it": ["docs/reliability", "docs/performance", "SECURITY"],
  "The project": ["CHANGELOG", "ARCHITECTURE", "DECISIONS", "CONTRIBUTING", "CODE_OF_CONDUCT", "docs/README"],
};

/** Pictures follow the reader's choice of dark or light; lines of code are up to 120 characters long. */
const STYLE = `
  html:not(.dark) { color-scheme: light }
  @media (min-width: 1440px) { .VPDoc.has-aside .content-container { max-width: 820px !important } }
`;

/** An entry of the sidebar: a page by its first heading. */
function entry(page: string): { text: string; link: string } {
  const heading = /^# (.+)$/m.exec(readFileSync(`${page}.md`, "utf8"))?.[1];
  return { text: page === "README" ? "What it is" : heading ?? page, link: `/${page}` };
}

export default {
  title: "lockmgr",
  description: "Distributed locks on the database you already have: SQLite, PostgreSQL, MySQL or MariaDB",
  lang: "en",
  head: [
    ["link", { rel: "icon", href: "data:," }],
    ["style", {}, STYLE],
  ],
  markdown: {
    anchor: { slugify: slugOf },
    languageAlias: { crontab: "sh" },
  },
  themeConfig: {
    search: { provider: "local" },
    nav: [
      { text: "Guide", link: "/docs/guide" },
      { text: "Recipes", link: "/docs/recipes" },
      { text: "Command line", link: "/docs/command-line" },
      { text: "API", link: "/api/index.html", target: "_self" },
    ],
    sidebar: Object.entries(GROUPS).map(([text, pages]) => ({ text, items: pages.map(entry) })),
    outline: [2, 3],
    footer: { message: "MIT licence" },
  },
};
