/**
 * The front page, made from the README: its first words, its promises as cards, and the sections for a newcomer.
 *
 * @module
 */

/** The sections that a newcomer reads, by their headings. */
const SECTIONS = ["The first lock, in 60 seconds", "Why trust it", "Install"];
const PICTURE = "![lockmgr watch: who holds what, for how long, and who waits](docs/command-line/watch.svg)";

/** A section from its heading to the next. */
function sectionOf(readme: string, heading: string): string {
  const from = readme.indexOf(`\n## ${heading}\n`);
  if (from < 0) throw new Error(`Cannot make the front page: README.md has no section "${heading}"`);
  const to = readme.indexOf("\n## ", from + 1);
  return readme.slice(from, to < 0 ? undefined : to);
}

/** A paragraph on one line. */
function unwrapped(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, " ");
}

/** The promises of the README: what is in bold, and what follows without links. */
function promisesOf(intro: string): { title: string; details: string }[] {
  return Array.from(intro.matchAll(/^- \*\*(.+?)\.?\*\* ([^]*?)(?=\n- |\n\n)/gm), ([, title, text]) => {
    const plain = unwrapped(text).replaceAll(/\[([^\]]+)\]\([^)]*\)/g, "$1");
    return { title, details: plain.replaceAll(/`([^`]+)`/g, "<code>$1</code>") };
  });
}

/** Makes the front page. */
export function homeOf(readme: string): string {
  const intro = readme.slice(0, readme.indexOf("\n## "));
  const [, subject, audience] = intro.split("\n\n").map(unwrapped);
  const [, text, databases] = /^(.+?): (.+)$/.exec(subject)!;
  const [, uses, nothing] = /^(.+?\.) (There is .+)$/.exec(audience)!;
  const hero = {
    name: "lockmgr",
    text,
    tagline: databases,
    actions: [
      { text: "The first lock", link: "#the-first-lock-in-60-seconds" },
      { text: "Why trust it", link: "#why-trust-it", theme: "alt" },
      { text: "Guide", link: "/docs/guide", theme: "alt" },
    ],
  };
  const features = [{ title: "Nothing else to run", details: nothing }, ...promisesOf(intro)];
  const frontMatter = JSON.stringify({ layout: "home", hero, features }); // JSON is YAML
  const sections = SECTIONS.map((each) => sectionOf(readme, each)).join("");
  return `---\n${frontMatter}\n---\n\n## Who it is for\n\n${uses}\n\n${PICTURE}\n${sections}`;
}
