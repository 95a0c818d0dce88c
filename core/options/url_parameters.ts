/**
 * The parameters of URLs, as providers, ORMs and other clients print them: each is used, ignored, or refused.
 *
 * @module
 */
import { nearest } from "./known_options.ts";
import { SETTING_PARAMETERS } from "./settings.ts";
import { builtin } from "../util/runtime.ts";

/**
 * What the value of each parameter means to the driver, `undefined` for an invalid value; by the parameters' names in
 * lower case without `-` and `_`, because clients spell a name in several ways.
 */
export type Handlings<Meaning> = Readonly<Record<string, (value: string) => Meaning | undefined>>;

/**
 * Reads all parameters of a URL by a table.
 *
 * @throws {TypeError} For a parameter that is not in the table or has an invalid value, which is not shown.
 */
export function readParameters<Meaning>(
  engine: string,
  parameters: ReadonlyMap<string, string>,
  handlings: Handlings<Meaning>,
): Meaning[] {
  const meanings: Meaning[] = [];
  for (const [name, value] of parameters) {
    const key = name.toLowerCase().replace(/[-_]/g, "");
    const what = `use URL parameter ${JSON.stringify(name)} on ${engine}`;
    const handling = Object.hasOwn(handlings, key) ? handlings[key] : undefined;
    if (handling === undefined) {
      const wanted = nearest(key, [...Object.keys(handlings), ...SETTING_PARAMETERS]);
      throw new TypeError(`Cannot ${what}: it is not known; want "${wanted}", or it left out`);
    }
    const meaning = handling(value);
    if (meaning === undefined) throw new TypeError(`Cannot ${what}: its value is not supported`);
    meanings.push(meaning);
  }
  return meanings;
}

/** Makes entries for ignored parameters, from their names with whitespace in between. */
export function dropped(names: string): Handlings<Record<never, never>> {
  return Object.fromEntries(names.trim().split(/\s+/).map((name) => [name, () => ({})]));
}

/** How strictly a client checks the server's certificate. */
export type Tls = "off" | "prefer" | "require" | "verify-ca" | "verify-full";

const TLS_MODES: Readonly<Record<string, Tls>> = {
  disable: "off",
  disabled: "off",
  false: "off",
  "0": "off",
  off: "off",
  no: "off",
  allow: "prefer",
  prefer: "prefer",
  preferred: "prefer",
  require: "require",
  required: "require",
  "no-verify": "require",
  "skip-verify": "require",
  "accept_invalid_certs": "require",
  "verify-ca": "verify-ca",
  "verify_ca": "verify-ca",
  "verify-full": "verify-full",
  "verify_full": "verify-full",
  "verify_identity": "verify-full",
  "verify-identity": "verify-full",
  strict: "verify-full",
};

/** The values of several parameters about TLS. */
interface TlsWishes {
  /** `sslmode` and its spellings. */
  readonly mode?: Tls;
  /** `ssl`, which `sslmode` overrides. */
  readonly ssl?: Tls;
  /** `sslaccept` and its relatives. */
  readonly accept?: Tls;
}

/** The settings that a parameter means, on every engine. */
export interface Meaning extends TlsWishes {
  /** Options of the driver. */
  readonly driver?: Record<string, unknown>;
  /** Options of `node:tls`. */
  readonly tlsOptions?: Record<string, unknown>;
}

/** Makes the handling of a parameter with a TLS mode; `sure` is the meaning of a plain yes. */
export function tls(key: keyof TlsWishes, sure: Tls): (value: string) => Meaning | undefined {
  return (value) => {
    const word = value.toLowerCase();
    if (["", "true", "1", "on", "yes"].includes(word)) return { [key]: sure };
    return Object.hasOwn(TLS_MODES, word) ? { [key]: TLS_MODES[word] } : undefined;
  };
}

/** Returns the mode that the parameters mean together. */
export function tlsFrom({ mode, ssl, accept }: TlsWishes): Tls | undefined {
  const wanted = mode ?? ssl;
  if (wanted === "off") return wanted;
  return accept === "verify-full" ? accept : wanted ?? accept;
}

/** Reads a whole number. */
export function wholeNumber(value: string): number | undefined {
  return /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

/** Makes the handling of a time limit: an option of the driver, which counts `unit` for each 1. 0 is its default. */
export function timeLimit(
  option: string,
  unit = 1,
): (value: string) => Meaning | undefined {
  return (value) => {
    const number = wholeNumber(value);
    return number === undefined ? undefined : number === 0 ? {} : { driver: { [option]: number * unit } };
  };
}

/**
 * Makes the handling of a certificate or key in a file that a URL names: an option of `node:tls`.
 *
 * @throws {TypeError} When it cannot be read. The path is a parameter's value, and not shown.
 */
export function pem(option: string, parameter: string): (path: string) => Meaning {
  return (path) => {
    try {
      return { tlsOptions: { [option]: builtin<typeof import("node:fs")>("node:fs")!.readFileSync(path, "utf8") } };
    } catch (error) {
      const { code = "no access to files" } = error as { code?: string };
      throw new TypeError(`Cannot use URL parameter "${parameter}": the file cannot be read (${code})`);
    }
  };
}
