/**
 * Parameters of URLs as providers, ORMs and other clients print them: each is honoured, dropped knowingly, or refused.
 *
 * @module
 */
import { builtin } from "../util/runtime.ts";

/**
 * What becomes of a parameter: `"drop"` when it is about something that does not exist here or that is always so; a
 * function that reads its value and says what it means to the driver, or `undefined` when the value is none.
 */
export type Handling<Meaning> = "drop" | ((value: string) => Meaning | undefined);

/** Handlings by the parameters' names in lower case without `-` and `_`: clients spell one name in several ways. */
export type Handlings<Meaning> = Readonly<Record<string, Handling<Meaning>>>;

/**
 * Reads all parameters of a URL by a table.
 *
 * @throws {TypeError} For a parameter that is not in the table or has a value that cannot be. It is named; its value is
 * not shown.
 */
export function readParameters<Meaning>(
  engine: string,
  parameters: ReadonlyMap<string, string>,
  handlings: Handlings<Meaning>,
): Meaning[] {
  const meanings: Meaning[] = [];
  for (const [name, value] of parameters) {
    const key = name.toLowerCase().replace(/[-_]/g, "");
    const handling = Object.hasOwn(handlings, key) ? handlings[key] : undefined;
    if (handling === undefined) {
      throw new TypeError(
        `Cannot use URL parameter ${JSON.stringify(name)} on ${engine}: it is not known; want it left out`,
      );
    }
    if (handling === "drop") continue;
    const meaning = handling(value);
    if (meaning === undefined) {
      throw new TypeError(
        `Cannot use URL parameter ${JSON.stringify(name)} on ${engine}: its value is not supported`,
      );
    }
    meanings.push(meaning);
  }
  return meanings;
}

/** Marks names as dropped. */
export function dropped(...names: string[]): Record<string, "drop"> {
  return Object.fromEntries(names.map((name) => [name, "drop"]));
}

/** How sure a client wants to be of the server's certificate. */
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

/** Reads a mode of TLS; `sure` is what a plain yes means. */
export function tlsOf(value: string, sure: Tls): Tls | undefined {
  const key = value.toLowerCase();
  if (["", "true", "1", "on", "yes"].includes(key)) return sure;
  return Object.hasOwn(TLS_MODES, key) ? TLS_MODES[key] : undefined;
}

/** What several parameters say about TLS. */
export interface TlsWishes {
  /** `sslmode` and its spellings. */
  readonly mode?: Tls;
  /** `ssl`, which `sslmode` is more exact than. */
  readonly ssl?: Tls;
  /** `sslaccept` and others that say how sure the client wants to be. */
  readonly accept?: Tls;
}

/** The mode that several parameters mean together. */
export function tlsFrom({ mode, ssl, accept }: TlsWishes): Tls | undefined {
  const wanted = mode ?? ssl;
  if (wanted === "off") return wanted;
  return accept === "verify-full" ? accept : wanted ?? accept;
}

/** Reads a whole number. */
export function wholeNumber(value: string): number | undefined {
  return /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

/**
 * Reads a certificate or key that a URL names.
 *
 * @throws {TypeError} When it cannot be read. The path is a parameter's value: it is not shown.
 */
export function readPem(name: string, path: string): string {
  try {
    return builtin<typeof import("node:fs")>("node:fs")!.readFileSync(path, "utf8");
  } catch (error) {
    const { code = "no access to files" } = error as { code?: string };
    throw new TypeError(`Cannot use URL parameter ${JSON.stringify(name)}: the file cannot be read (${code})`);
  }
}
