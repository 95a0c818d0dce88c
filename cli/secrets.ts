/**
 * Keeps passwords out of everything that is printed, whoever wrote the sentence.
 *
 * @module
 */

/** The user's part of a URL, with a password in it. */
const IN_URL = /([a-z][a-z0-9+.-]*:\/\/[^\s:/?#@]*):[^\s/?#]*@/gi;
/** A password among a URL's parameters. */
const IN_QUERY = /([?&](?:password|passwd|pwd|sslpassword)=)[^\s&#"']*/gi;

const HIDDEN = "***";

/** The passwords of a URL as it may be told of: as written, and decoded. */
function passwordsOf(url: string): string[] {
  const found = new Set<string>();
  const userInfo = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)@/i.exec(url)?.[1];
  const colon = userInfo?.indexOf(":") ?? -1;
  if (userInfo !== undefined && colon >= 0) found.add(userInfo.slice(colon + 1));
  for (const [, value] of url.matchAll(/[?&](?:password|passwd|pwd|sslpassword)=([^&#]*)/gi)) found.add(value);
  for (const password of [...found]) {
    try {
      found.add(decodeURIComponent(password));
    } catch {
      // Not percent-encoded after all: it is told of as it stands, if at all.
    }
  }
  found.delete("");
  return [...found].sort((a, b) => b.length - a.length);
}

/** Makes a function that takes the passwords of these URLs, and of any other URL, out of a text. */
export function redactor(urls: readonly (string | undefined)[]): (text: string) => string {
  const passwords = urls.flatMap((url) => url === undefined ? [] : passwordsOf(url));
  return (text) => {
    let clean = text.replace(IN_URL, `$1:${HIDDEN}@`).replace(IN_QUERY, `$1${HIDDEN}`);
    // One of one or two characters is part of too many words; those two forms above catch it where it matters.
    for (const password of passwords) if (password.length > 2) clean = clean.replaceAll(password, HIDDEN);
    return clean;
  };
}
