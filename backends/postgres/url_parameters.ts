/**
 * What a URL's parameters mean to PostgreSQL and its driver. Names in the tables are in lower case without `-` and `_`.
 *
 * @module
 */
import {
  dropped,
  type Handlings,
  readParameters,
  readPem,
  type Tls,
  tlsFrom,
  tlsOf,
  type TlsWishes,
  wholeNumber,
} from "../../core/options/url_parameters.ts";
import { environment } from "../../core/util/runtime.ts";
import { type Host, parseHosts, type ServerTarget } from "../../core/options/target.ts";
import type { DriverOptions } from "./connection/driver.ts";

/** What a parameter says. */
interface Meaning extends TlsWishes {
  /** Where the server is, in place of the URL's own. */
  readonly host?: string;
  readonly port?: string;
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  /** Options of `node:tls`. */
  readonly tlsOptions?: Record<string, unknown>;
  /** Options of postgres.js. */
  readonly driver?: DriverOptions;
  /** Parameters of the server, sent as the connection begins. */
  readonly server?: Record<string, string>;
  /** The name that administrators see, unless there is another. */
  readonly fallbackName?: string;
  /** The schema of an unqualified table. */
  readonly schema?: string;
}

/** An identifier that needs no quotes, as tables have to be. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;

const VERSIONS = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/** A setting of the server by its name. */
const setting = (name: string) => (value: string): Meaning => ({ server: { [name]: value } });

/** A version of TLS. */
const version = (name: string) => (value: string): Meaning | undefined =>
  VERSIONS.includes(value) ? { tlsOptions: { [name]: value } } : undefined;

/** A schema. Of a search path it is the first name. */
const schema = (value: string): Meaning | undefined => NAME.test(value) ? { schema: value } : undefined;

/** A mode of TLS. */
const tls = (key: keyof TlsWishes) => (value: string): Meaning | undefined => {
  const mode = tlsOf(value, "verify-full");
  return mode && { [key]: mode };
};

/** One that may have certain values, which change nothing. */
const harmless = (...values: string[]) => (value: string): Meaning | undefined =>
  values.includes(value) ? {} : undefined;

/** What is honoured. */
const HONOURED: Handlings<Meaning> = {
  host: (host) => ({ host }),
  hostaddr: (host) => ({ host }),
  port: (port) => ({ port }),
  user: (user) => ({ user }),
  username: (user) => ({ user }),
  password: (password) => ({ password }),
  dbname: (database) => ({ database }),
  database: (database) => ({ database }),
  sslmode: tls("mode"),
  ssl: tls("ssl"),
  sslaccept: tls("accept"),
  requiressl: (value) => value === "1" ? { ssl: "require" } : value === "0" ? {} : undefined,
  sslrootcert: (path) =>
    path === "system" ? { accept: "verify-full" } : { tlsOptions: { ca: readPem("sslrootcert", path) } },
  sslcert: (path) => ({ tlsOptions: { cert: readPem("sslcert", path) } }),
  sslkey: (path) => ({ tlsOptions: { key: readPem("sslkey", path) } }),
  sslcrl: (path) => ({ tlsOptions: { crl: readPem("sslcrl", path) } }),
  sslpassword: (passphrase) => ({ tlsOptions: { passphrase } }),
  sslminprotocolversion: version("minVersion"),
  sslmaxprotocolversion: version("maxVersion"),
  sslnegotiation: (value) =>
    value === "direct" ? { driver: { sslnegotiation: "direct" } } : value === "postgres" ? {} : undefined,
  targetsessionattrs: (value) =>
    value === "any"
      ? {}
      : ["read-write", "read-only", "primary", "standby", "prefer-standby"].includes(value)
      ? { driver: { target_session_attrs: value } }
      : undefined,
  connecttimeout: (value) => secondsFor("connect_timeout", value),
  connectiontimeout: (value) => secondsFor("connect_timeout", value),
  logintimeout: (value) => secondsFor("connect_timeout", value),
  keepalives: (value) => value === "0" ? { driver: { keep_alive: null } } : value === "1" ? {} : undefined,
  keepalivesidle: (value) => secondsFor("keep_alive", value),
  applicationname: setting("application_name"),
  fallbackapplicationname: (fallbackName) => ({ fallbackName }),
  options: setting("options"),
  role: setting("role"),
  searchpath: setting("search_path"),
  statementtimeout: setting("statement_timeout"),
  locktimeout: setting("lock_timeout"),
  idleintransactionsessiontimeout: setting("idle_in_transaction_session_timeout"),
  idlesessiontimeout: setting("idle_session_timeout"),
  schema,
  currentschema: (value) => schema(value.split(",")[0]),
  gssencmode: harmless("disable", "allow", "prefer"), // the driver has no GSSAPI: what requires it is refused
  requireauth: harmless(""), // the driver takes every method
};

/** What is dropped, and why. */
const DROPPED: Handlings<Meaning> = {
  // the driver has no channel binding; a certificate checked by sslmode=verify-full keeps others out as well
  ...dropped("channelbinding"),
  ...dropped("gsslib", "gssdelegation", "krbsrvname", "sslcompression", "sslsni", "sslcertmode", "uselibpqcompat"),
  // probes after keepalives_idle: the runtime's sockets have the system's
  ...dropped("keepalivesinterval", "keepalivescount", "tcpusertimeout", "tcpkeepalive"),
  // all statements are ASCII with texts in UTF-8, and times travel as numbers
  ...dropped("clientencoding", "charset", "encoding", "timezone", "datestyle", "stringtype"),
  // lockmgr has few connections and finds out by itself whether a pooler is in between
  ...dropped("pgbouncer", "poolmode", "connectionlimit", "poolsize", "pooltimeout", "singleuseconnections", "supa"),
  ...dropped("maxconnections", "maxconnectionlifetime", "maxidleconnectionlifetime", "poolmaxconns", "poolminconns"),
  ...dropped("poolmaxconnlifetime", "poolmaxconnidletime", "max", "min", "idletimeout", "maxlifetime", "workaround"),
  ...dropped("statementcachesize", "preparedstatements", "preparedstatementcachesize", "preparethreshold", "prepare"),
  ...dropped("preparedstatementcachequeries", "statementcachecapacity", "statementcachemode", "defaultqueryexecmode"),
  ...dropped("descriptioncachecapacity", "rewritebatchedinserts", "fetchtypes", "binarytransfer", "binaryparameters"),
  // answers are waited for as long as the options of the backend say
  ...dropped("sockettimeout", "querytimeout", "commandtimeout", "keepalive", "backoff", "loadbalancehosts"),
};

const HANDLINGS: Handlings<Meaning> = { ...DROPPED, ...HONOURED };

/** Seconds for the driver; 0 is its default, as in libpq. */
function secondsFor(option: string, value: string): Meaning | undefined {
  const seconds = wholeNumber(value);
  return seconds === undefined ? undefined : seconds === 0 ? {} : { driver: { [option]: seconds } };
}

/** What the driver has to be told about TLS. */
function sslOf(mode: Tls | undefined, options: Record<string, unknown>, hosts: readonly Host[]): unknown {
  const own = Object.keys(options).length > 0;
  if (mode === "off" || (mode === undefined && !own)) return false;
  if (mode === "prefer") return "prefer"; // the driver takes no certificates with it
  if (mode === "verify-full") {
    // the driver names no IP address to the check, which would then take a certificate for "localhost"
    const address = hosts.length === 1 && /^[\d.]+$|:/.test(hosts[0].name ?? "") ? { host: hosts[0].name } : {};
    return { rejectUnauthorized: true, ...address, ...options };
  }
  const checked = mode === "verify-ca" || (options.ca !== undefined); // as in libpq, a given root is checked against
  if (!checked) return own ? { rejectUnauthorized: false, ...options } : "require";
  return { rejectUnauthorized: true, checkServerIdentity: () => undefined, ...options };
}

/** A URL in the driver's terms. */
export interface Address {
  /** Options of postgres.js. */
  readonly driver: DriverOptions;
  /** The schema that an unqualified table is in. */
  readonly schema: string | undefined;
}

/**
 * Returns what a URL says, in the driver's terms.
 *
 * @throws {TypeError} For an unknown parameter or a value that cannot be.
 */
export function addressOf(target: ServerTarget): Address {
  const meanings = readParameters("PostgreSQL", target.parameters, HANDLINGS);
  const all: Meaning = Object.assign({}, ...meanings);
  const merge = (key: "driver" | "server" | "tlsOptions") => Object.assign({}, ...meanings.map((each) => each[key]));
  const hosts = all.host === undefined && all.port === undefined
    ? target.hosts
    : all.host === undefined
    ? parseHosts(target.hosts.map(({ name = "" }) => name.includes(":") ? `[${name}]` : name).join(","), [all.port!])
    : parseHosts(bracketed(all.host), all.port?.split(",") ?? [String(target.hosts[0].port ?? "")]);
  const [first] = hosts;
  const socket = first.name?.startsWith("/") ? `${first.name}/.s.PGSQL.${first.port ?? 5432}` : undefined;
  const named = first.name !== undefined && socket === undefined;
  return {
    driver: {
      ...(named ? { host: hosts.map(({ name }) => name ?? "localhost") } : {}),
      ...(named ? { port: hosts.map(({ port }) => port ?? defaultPort()) } : { port: first.port }),
      ...(socket ? { path: socket } : {}),
      ...withoutUndefined({
        user: all.user ?? target.user,
        pass: all.password ?? target.password,
        database: all.database ?? target.database,
      }),
      ssl: sslOf(tlsFrom(all), merge("tlsOptions"), hosts),
      ...merge("driver"),
      connection: {
        ...(all.fallbackName === undefined ? {} : { application_name: all.fallbackName }),
        ...merge("server"),
      },
    },
    schema: all.schema,
  };
}

/** The port of libpq's environment, else PostgreSQL's own. */
function defaultPort(): number {
  return wholeNumber(environment("PGPORT") ?? "") ?? 5432;
}

/** IPv6 addresses in brackets: a parameter has them without. */
function bracketed(hosts: string): string {
  return hosts.split(",").map((host) => /^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(host) ? `[${host}]` : host).join(",");
}

function withoutUndefined(options: DriverOptions): DriverOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** The schema that the parameters of a URL name. */
export function schemaIn(parameters: ReadonlyMap<string, string>): string | undefined {
  const meanings = readParameters("PostgreSQL", parameters, HANDLINGS);
  return (Object.assign({}, ...meanings) as Meaning).schema;
}
