/**
 * Keeps passwords out of everything that is printed. Errors of the library have none; a lock's name or another
 * program's message may.
 *
 * @module
 */

/** The user's part of a URL, up to the last `@` of the word: a password may have every character unescaped. */
const IN_URL = /([a-z][a-z0-9+.-]*:[/\\]{2})[^\s"']*@/gi;
/** A password among parameters or keywords, after the word for it. */
const IN_QUERY = /((?:password|passwd|pwd|sslpassword|passphrase)\s*=\s*)([^\s&#"';]*)/gi;

const HIDDEN = "***";

/** The passwords in a URL, as written and decoded; a URL that breaks the rules is read as well. */
function secretsOf(url: string): string[] {
  const found = new Set<string>();
  const [, userinfo = ""] = /:[/\\]{2}([^]*)@/.exec(url) ?? [];
  const colon = userinfo.indexOf(":");
  if (colon >= 0) found.add(userinfo.slice(colon + 1));
  for (const [, , value] of url.matchAll(IN_QUERY)) found.add(value);
  for (const secret of [...found]) {
    try {
      found.add(decodeURIComponent(secret));
    } catch {
      // It is not percent-encoded.
    }
  }
  found.delete("");
  return [...found].sort((a, b) => b.length - a.length);
}

/** Makes a function that takes the passwords of these URLs, and of any other URL, out of a text. */
export function redactor(urls: readonly (string | undefined)[]): (text: string) => string {
  const secrets = urls.flatMap((url) => url === undefined ? [] : secretsOf(url));
  return (text) => {
    let clean = text.replace(IN_URL, `$1${HIDDEN}@`).replace(IN_QUERY, `$1${HIDDEN}`);
    // A shorter one is part of too many words; the patterns above hide it in its place.
    for (const secret of secrets) if (secret.length > 2) clean = clean.replaceAll(secret, HIDDEN);
    return clean;
  };
}
