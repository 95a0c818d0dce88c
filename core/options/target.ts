/**
 * Parses connection targets, before anything is opened, sent or printed. A target has secrets: a user, a password, the
 * values of parameters. Errors name none of its parts; `describe` returns what may be shown.
 *
 * @module
 */
import { decode, refuseControls, refused, refuseDisguise, refusePath, refuseValue } from "./refused_target.ts";
import { isWindows } from "../util/runtime.ts";
import { takeSettings, type UrlSettings } from "./settings.ts";

/** A host: a name, an IP address, or the directory of a Unix socket. */
export interface Host {
  /** The name without the brackets of IPv6; `undefined` for the driver's default. */
  readonly name: string | undefined;
  /** The port; `undefined` for the engine's default. */
  readonly port: number | undefined;
}

/** What every target has. */
interface Common {
  /** The scheme in lower case with its colon; `sqlite:` for a path. */
  readonly scheme: string;
  /** The target without surrounding whitespace. It may have a password: it is never shown. */
  readonly text: string;
  /** The values of its `lockmgr_` parameters. */
  readonly settings: UrlSettings;
  /** The other parameters, decoded, by their names as written. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** A database on a server. */
export interface ServerTarget extends Common {
  readonly kind: "server";
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** At least one. */
  readonly hosts: readonly Host[];
  readonly database: string | undefined;
}

/** A database in a file. */
interface FileTarget extends Common {
  readonly kind: "file";
  /** Its path, or `:memory:`. */
  readonly path: string;
}

/** A target of a registered engine, which alone knows what is in it. */
interface ForeignTarget extends Common {
  /** Neither a server nor a file that is known here. */
  readonly kind: "foreign";
}

/** A target after its checks. */
type Target = ServerTarget | FileTarget | ForeignTarget;

/** What the known schemes mean. */
const kinds = new Map<string, Target["kind"]>([
  ["sqlite:", "file"],
  ["file:", "file"],
  ["postgres:", "server"],
  ["postgresql:", "server"],
  ["mysql:", "server"],
  ["mariadb:", "server"],
]);

/** Makes the scheme of a registered engine known. */
export function addScheme(scheme: string): void {
  kinds.set(scheme, "foreign");
}

/** The scheme of a path. */
const PATH_SCHEME = "sqlite:";

/** Whitespace around a copied URL. */
const SURROUNDINGS = /^[\s\u200b\u2060]+|[\s\u200b\u2060]+$/gu;

/** Advice where an unescaped character of a password changes the meaning of a URL. */
const ESCAPED = "want #, /, ?, @, % and spaces in its user, password and values percent-encoded (%23 for #)";

/**
 * Parses a target.
 *
 * @throws {TypeError} For a value that is neither a URL of a known scheme nor the path of a database. The message says
 * what to pass, and shows nothing of the target but an unknown scheme.
 */
export function parseTarget(target: unknown): Target {
  if (typeof target !== "string" && !(target instanceof URL)) throw refuseValue(target);
  const text = String(target).replace(SURROUNDINGS, "");
  if (text === "") throw new TypeError("Cannot connect to an empty target: want a URL or the path of an SQLite file");
  const scheme = /^[a-z][a-z0-9+.-]+:/i.exec(text)?.[0].toLowerCase();
  const kind = scheme && kinds.get(scheme);
  if (scheme === undefined || kind === undefined) {
    refusePath(text, [...kinds.keys()]);
    return { kind: "file", scheme: PATH_SCHEME, text, path: text, settings: {}, parameters: new Map() };
  }
  if (kind === "foreign") return { kind, scheme, text, settings: {}, parameters: new Map() };
  refuseControls(text);
  if (/["'`>]$/.test(text)) throw refused("it has a quotation mark at its end", "want the URL without quotation marks");
  return kind === "file" ? parseFileUrl(text, scheme) : parseServerUrl(text, scheme);
}

/**
 * Parses a target for the backend function of one engine.
 *
 * @throws {TypeError} Also for a target of another engine.
 */
export function parseTargetOf<Kind extends Target["kind"]>(
  target: unknown,
  kind: Kind,
  wanted: readonly string[],
): Target & { readonly kind: Kind } {
  const parsed = parseTarget(target);
  if (parsed.kind === kind && wanted.includes(parsed.scheme)) return parsed as Target & { readonly kind: Kind };
  throw refused(`it is one of ${parsed.scheme}`, `want ${wanted.join(" or ")} here, or connect(), which takes all`);
}

/** Returns what may be shown of a target: scheme, hosts, ports and database. */
export function describe(target: Target): string {
  if (target.kind === "foreign") return `${target.scheme}…`; // where its secrets are is not known
  if (target.kind === "file") return `${target.scheme}${target.path}`;
  const hosts = target.hosts.map(({ name = "", port }) => {
    const host = name.includes(":") ? `[${name}]` : name.startsWith("/") ? encodeURIComponent(name) : name;
    return port === undefined ? host : `${host}:${port}`;
  });
  const database = target.database === undefined ? "" : `/${encodeURIComponent(target.database)}`;
  return `${target.scheme}//${hosts.join(",")}${database}`;
}

/** Returns the parameters of a URL. A plus sign stays one, as in libpq. */
function parametersOf(query: string | undefined): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const part of (query ?? "").split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = decode(part.slice(0, Math.max(equals, 0))); // without a value it may be the rest of another one
    if (!/^[A-Za-z][\w.-]*$/.test(name)) throw refused("a parameter in it is not NAME=VALUE", `${ESCAPED} (%26 for &)`);
    parameters.set(name, decode(part.slice(equals + 1)));
  }
  return parameters;
}

/** `sqlite:PATH?…` and `file:PATH?…`: absolute after three slashes, relative after none or two. */
function parseFileUrl(text: string, scheme: string): FileTarget {
  const [, slashes, address, query, fragment] = /^[^:]+:(\/\/)?([^?#]*)(?:\?([^#]*))?(#.*)?$/s.exec(text)!;
  if (fragment !== undefined) throw refused("it has a # in it", "want %23 for a # in the path");
  const authority = slashes === undefined ? "" : /^[^/]*/.exec(address)![0];
  if (/@|:/.test(authority) && !/^(?::memory:|[a-z]:)$/i.test(authority)) {
    throw refused("a file has no user, password or port", "want sqlite:PATH");
  }
  let path = decode(address);
  if (/^localhost$/i.test(authority) && path.includes("/")) path = path.slice(authority.length);
  else if (scheme === "file:" && /^[^.:][^:]*$/.test(authority) && path.length > authority.length) {
    throw refused("a file: URL has no host", "want file:///PATH, or file:PATH for a relative one");
  }
  if (isWindows() && /^\/[A-Za-z]:/.test(path)) path = path.slice(1);
  if (path === "") throw refused("it has no path", "want sqlite:PATH or sqlite::memory:");
  refuseDisguise(path);
  // The name of an unknown parameter is shown. After a user of one letter, which looks like a drive, it may be a part of
  // a password: sqlite://u:secret?secret=@host/file.
  const parts = decode(query ?? "").split("&");
  if (parts.some((part) => part.includes("@") && part !== "driver=@db/sqlite")) {
    throw refused("it has an @ in a parameter, and a file has no user or password", "want sqlite:PATH");
  }
  const parameters = parametersOf(query);
  const settings = takeSettings(parameters, ["busyTimeout"]);
  return { kind: "file", scheme: PATH_SCHEME, text, path, settings, parameters };
}

/** `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?…`. The platform's own parser differs between runtimes and schemes. */
function parseServerUrl(text: string, scheme: string): ServerTarget {
  const wanted = `want ${scheme}//USER:PASSWORD@HOST:PORT/DATABASE`;
  const parts = /^[^:]+:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/s.exec(text);
  if (parts === null) throw refused(`it begins with ${scheme} and has no // after it`, wanted);
  const [, authority, path = "", query = "", fragment] = parts;
  if (fragment !== undefined) throw refused("it has a # in it", ESCAPED);
  if (path.includes("@") || query.includes("@")) throw refused("it has an @ after its host", ESCAPED);
  if (/\s/.test(text)) throw refused("it has a space in it", ESCAPED);
  const at = authority.lastIndexOf("@");
  const userinfo = at < 0 ? "" : authority.slice(0, at);
  const colon = userinfo.indexOf(":");
  const parameters = parametersOf(query);
  return {
    kind: "server",
    scheme,
    text,
    user: decode(colon < 0 ? userinfo : userinfo.slice(0, colon)) || undefined,
    password: colon < 0 ? undefined : decode(userinfo.slice(colon + 1)) || undefined,
    hosts: parseHosts(authority.slice(at + 1)),
    database: decode(path) || undefined,
    settings: takeSettings(parameters, ["maxConnections", "sessionTimeout", "answerTimeout"]),
    parameters,
  };
}

/**
 * Parses hosts with their ports, separated by commas.
 *
 * @throws {TypeError} For an invalid host or port.
 */
export function parseHosts(text: string, ports: readonly string[] = []): Host[] {
  return text.split(",").map((each, index) => {
    const [, v6, plain, port] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/s.exec(each) ?? [];
    const name = decode(v6 ?? plain ?? ":");
    const isHost = v6 === undefined ? /^(?:\/.*|[\p{L}\p{N}._-]*)$/su : /^[0-9a-f:.]*:[0-9a-f:.]*(?:%[\w.-]+)?$/i;
    if (!isHost.test(name)) throw refused("its host cannot be one", `${ESCAPED}, and IPv6 addresses in brackets`);
    return { name: name || undefined, port: parsePort(port || ports[index] || ports[0] || "") };
  });
}

function parsePort(text: string): number | undefined {
  if (text === "") return undefined;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
    throw refused("its port is not a number from 1 to 65535", `${ESCAPED}, and IPv6 addresses in brackets`);
  }
  return port;
}

/** Values that are words of every manual, and numbers: they are no secrets. */
const COMMON_WORDS =
  /^(?:\d+|true|false|on|off|yes|no|any|auto|require[d]?|prefer(?:red)?|allow|disabled?|verify[-_]\w+)$/i;

/** Shorter values are part of too many words. No server or driver shows the password by itself. */
const MIN_SECRET_LENGTH = 3;

const HIDDEN = "***";

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/** Returns the patterns of what is hidden. A user is hidden where it is quoted and not a database, schema or table. */
function patternsOf({ user, password, parameters }: ServerTarget): RegExp[] {
  const values = [password ?? "", ...parameters.values()]
    .flatMap((value) => [value, ...value.split(/[\s=,:]+/)])
    .filter((value) => value.length >= MIN_SECRET_LENGTH && !COMMON_WORDS.test(value))
    .sort((a, b) => b.length - a.length);
  const forms = new Set(values.flatMap((value) => [value, encodeURIComponent(value)]));
  const patterns = [...forms].map((form) =>
    new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(form)}(?![\\p{L}\\p{N}_])`, "gu")
  );
  if (user === undefined) return patterns;
  const notUsers = "(?<!\\b(?:database|schema|relation|table) [\"'`])";
  return [...patterns, new RegExp(`${notUsers}(?<=["'\`])${escaped(user)}(?=["'\`])`, "gu")];
}

/** Makes a function that hides a target's secrets in an error and its causes, and returns the error. */
export function concealerFor(target: ServerTarget): (error: unknown) => unknown {
  const patterns = patternsOf(target);
  const conceal = (text: string) => patterns.reduce((text, pattern) => text.replace(pattern, HIDDEN), text);
  const cleanse = (error: unknown, seen: Set<unknown>): void => {
    if (!(error instanceof Error) || seen.has(error)) return;
    seen.add(error);
    const fields = error as unknown as Record<string, unknown>;
    for (const key of Object.getOwnPropertyNames(error)) {
      const text = fields[key];
      if (typeof text !== "string") continue;
      const clean = conceal(text);
      if (clean !== text) Reflect.defineProperty(error, key, { value: clean });
    }
    cleanse(error.cause, seen);
    if (error instanceof AggregateError) { for (const each of error.errors) cleanse(each, seen); }
  };
  return (error) => {
    if (typeof error === "string") return conceal(error);
    cleanse(error, new Set());
    return error;
  };
}
