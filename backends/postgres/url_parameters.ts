/**
 * The parameters of a URL. Names in the tables are in lower case without `-` and `_`.
 *
 * @module
 */
import { type Host, parseHosts, type ServerTarget } from "../../core/options/target.ts";
import {
  dropped,
  type Handlings,
  type Meaning as CommonMeaning,
  pem,
  readParameters,
  timeLimit,
  type Tls,
  tls,
  tlsFrom,
  wholeNumber,
} from "../../core/options/url_parameters.ts";
import { environment } from "../../core/util/runtime.ts";
import type { DriverOptions } from "./connection/driver.ts";

/** The settings that a parameter means, also on PostgreSQL alone. */
interface Meaning extends CommonMeaning {
  /** The host and port, in place of the URL's own. */
  readonly host?: string;
  readonly port?: string;
  /** Parameters of the server, sent as the connection begins. */
  readonly server?: Record<string, string>;
  /** The name that administrators see, unless there is another. */
  readonly fallbackName?: string;
  /** The schema of an unqualified table. */
  readonly schema?: string;
}

/** An option of the driver, with the same value. */
const option = (name: string) => (value: string): Meaning => ({ driver: { [name]: value } });

/** A setting of the server by its name. */
const setting = (name: string) => (value: string): Meaning => ({ server: { [name]: value } });

/** An option of TLS with one of some values. */
const tlsVersion = (name: string) => (value: string): Meaning | undefined =>
  /^TLSv1(\.[123])?$/.test(value) ? { tlsOptions: { [name]: value } } : undefined;

/** Returns what a value means by a table of the supported values. */
const oneOf = (meanings: Readonly<Record<string, Meaning>>) => (value: string): Meaning | undefined =>
  Object.hasOwn(meanings, value) ? meanings[value] : undefined;

/** A schema whose name needs no quotes, as tables have to be. */
const schema = (value: string): Meaning | undefined =>
  /^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(value) ? { schema: value } : undefined;

/** Parameters that are honoured. */
const HONOURED: Handlings<Meaning> = {
  host: (host) => ({ host }),
  hostaddr: (host) => ({ host }),
  port: (port) => ({ port }),
  user: option("user"),
  username: option("user"),
  password: option("pass"),
  dbname: option("database"),
  database: option("database"),
  sslmode: tls("mode", "verify-full"),
  ssl: tls("ssl", "verify-full"),
  sslaccept: tls("accept", "verify-full"),
  requiressl: oneOf({ 0: {}, 1: { ssl: "require" } }),
  sslrootcert: (path) => path === "system" ? { accept: "verify-full" } : pem("ca", "sslrootcert")(path),
  sslcert: pem("cert", "sslcert"),
  sslkey: pem("key", "sslkey"),
  sslcrl: pem("crl", "sslcrl"),
  sslpassword: (passphrase) => ({ tlsOptions: { passphrase } }),
  sslminprotocolversion: tlsVersion("minVersion"),
  sslmaxprotocolversion: tlsVersion("maxVersion"),
  sslnegotiation: oneOf({ direct: { driver: { sslnegotiation: "direct" } }, postgres: {} }),
  targetsessionattrs: oneOf({ any: {}, "read-write": {}, primary: {} }), // of several hosts the primary is used
  connecttimeout: timeLimit("connect_timeout"),
  connectiontimeout: timeLimit("connect_timeout"),
  logintimeout: timeLimit("connect_timeout"),
  keepalives: oneOf({ 0: { driver: { keep_alive: null } }, 1: {} }),
  keepalivesidle: timeLimit("keep_alive"),
  fallbackapplicationname: (fallbackName) => ({ fallbackName }),
  applicationname: setting("application_name"),
  options: setting("options"),
  role: setting("role"),
  searchpath: setting("search_path"),
  statementtimeout: setting("statement_timeout"),
  locktimeout: setting("lock_timeout"),
  idleintransactionsessiontimeout: setting("idle_in_transaction_session_timeout"),
  idlesessiontimeout: setting("idle_session_timeout"),
  schema,
  currentschema: (value) => schema(value.split(",")[0]),
  gssencmode: oneOf({ disable: {}, allow: {}, prefer: {} }), // the driver has no GSSAPI: to require it is refused
  requireauth: oneOf({ "": {} }), // the driver accepts every method
};

/** Parameters of other clients that are ignored. A certificate checked by `verify-full` replaces channel binding. */
const DROPPED: Handlings<Meaning> = dropped(`
  channelbinding gsslib gssdelegation krbsrvname sslcompression sslsni sslcertmode uselibpqcompat
  keepalivesinterval keepalivescount tcpusertimeout tcpkeepalive keepalive
  clientencoding charset encoding timezone datestyle stringtype
  pgbouncer poolmode connectionlimit poolsize pooltimeout singleuseconnections supa workaround
  maxconnections maxconnectionlifetime maxidleconnectionlifetime poolmaxconns poolminconns poolmaxconnlifetime
  poolmaxconnidletime max min idletimeout maxlifetime
  statementcachesize preparedstatements preparedstatementcachesize preparethreshold prepare
  preparedstatementcachequeries statementcachecapacity statementcachemode defaultqueryexecmode
  descriptioncachecapacity rewritebatchedinserts fetchtypes binarytransfer binaryparameters
  sockettimeout querytimeout commandtimeout backoff loadbalancehosts`);

const HANDLINGS: Handlings<Meaning> = { ...DROPPED, ...HONOURED };

/** The driver's option for TLS. */
function sslOf(mode: Tls | undefined, options: Record<string, unknown>, hosts: readonly Host[]): unknown {
  const given = Object.keys(options).length > 0;
  if (mode === "off" || (mode === undefined && !given)) return false;
  if (mode === "prefer") return "prefer"; // the driver takes no certificates with it
  if (mode === "verify-full") {
    // the driver passes no IP address to the check, which would then accept a certificate for "localhost"
    const address = hosts.length === 1 && /^[\d.]+$|:/.test(hosts[0].name ?? "") ? { host: hosts[0].name } : {};
    return { rejectUnauthorized: true, ...address, ...options };
  }
  // as in libpq, the certificate is checked where a root is given
  if (mode === "verify-ca" || options.ca !== undefined) {
    return { rejectUnauthorized: true, checkServerIdentity: () => undefined, ...options };
  }
  return given ? { rejectUnauthorized: false, ...options } : "require";
}

/** A URL in the driver's terms. */
export interface Address {
  /** Options of postgres.js. */
  readonly driver: DriverOptions;
  /** The schema of an unqualified table. */
  readonly schema: string | undefined;
}

/**
 * Converts a URL to options of the driver.
 *
 * @throws {TypeError} For an unknown parameter, or a value that is not supported.
 */
export function addressOf(target: ServerTarget): Address {
  const meanings = readParameters("PostgreSQL", target.parameters, HANDLINGS);
  const all: Meaning = Object.assign({}, ...meanings);
  const merge = (key: "driver" | "server" | "tlsOptions") => Object.assign({}, ...meanings.map((each) => each[key]));
  const hosts = hostsOf(target, all);
  const { user, password: pass, database } = target;
  const own = Object.entries({ user, pass, database }).filter(([, value]) => value !== undefined);
  return {
    driver: {
      ...endpointOf(hosts),
      ...Object.fromEntries(own),
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

/** The hosts of the URL, which its parameters may replace. IPv6 addresses in a parameter have no brackets. */
function hostsOf(target: ServerTarget, { host, port }: Meaning): readonly Host[] {
  if (host === undefined && port === undefined) return target.hosts;
  const bracketed = (name: string) => /^[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]+)?$/i.test(name) ? `[${name}]` : name;
  const names = host?.split(",") ?? target.hosts.map(({ name = "" }) => name);
  const ports = port === undefined ? [String(target.hosts[0].port ?? "")] : port.split(",");
  return parseHosts(names.map(bracketed).join(","), ports);
}

/** Where the driver connects to; its own defaults where no host is given. */
function endpointOf(hosts: readonly Host[]): DriverOptions {
  const [{ name, port }] = hosts;
  if (name === undefined) return { port };
  if (name.startsWith("/")) return { port, path: `${name}/.s.PGSQL.${port ?? 5432}` };
  const fallback = wholeNumber(environment("PGPORT") ?? "") ?? 5432; // as in libpq
  return { host: hosts.map(({ name }) => name ?? "localhost"), port: hosts.map(({ port }) => port ?? fallback) };
}

/** The schema that the parameters of a URL name. */
export function schemaIn(parameters: ReadonlyMap<string, string>): string | undefined {
  const meanings = readParameters("PostgreSQL", parameters, HANDLINGS);
  return (Object.assign({}, ...meanings) as Meaning).schema;
}
