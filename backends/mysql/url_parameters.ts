/**
 * The parameters of a URL. Names in the tables are in lower case without `-` and `_`.
 *
 * @module
 */
import {
  dropped,
  type Handlings,
  type Meaning,
  pem,
  readParameters,
  timeLimit,
  type Tls,
  tls,
  tlsFrom,
} from "../../core/options/url_parameters.ts";
import type { ServerTarget } from "../../core/options/target.ts";

/** An option of the driver, with the same value. */
const option = (name: string) => (value: string): Meaning | undefined =>
  value === "" ? undefined : { driver: { [name]: value } };

/** `ssl=true`, a mode, or the driver's options as a JSON object, of which only these are taken. */
function ssl(value: string): Meaning | undefined {
  if (!value.startsWith("{")) return tls("ssl", "verify-ca")(value);
  let options: Record<string, unknown>;
  try {
    options = JSON.parse(value);
  } catch {
    return undefined;
  }
  const known = ["rejectUnauthorized", "verifyIdentity", "ca", "cert", "key", "passphrase", "minVersion"];
  if (Object.keys(options).some((key) => !known.includes(key))) return undefined;
  return { ssl: options.rejectUnauthorized === false ? "require" : "verify-ca", tlsOptions: options };
}

/** Whether the server's certificate is checked. */
const verify = (value: string): Meaning | undefined =>
  /^(?:true|1)$/i.test(value) ? { accept: "verify-full" } : /^(?:false|0)$/i.test(value) ? {} : undefined;

/** A character set of the driver. */
const charset = (value: string): Meaning | undefined =>
  /^[A-Za-z0-9_]{1,40}$/.test(value) ? { driver: { charset: value } } : undefined;

/** Parameters that are honoured. */
const HONOURED: Handlings<Meaning> = {
  user: option("user"),
  username: option("user"),
  password: option("password"),
  socketpath: option("socketPath"),
  socket: option("socketPath"),
  unixsocket: option("socketPath"),
  charset,
  sslmode: tls("mode", "require"),
  ssl,
  tls: tls("ssl", "verify-full"),
  usessl: tls("ssl", "require"),
  requiressl: tls("ssl", "require"),
  sslaccept: tls("accept", "verify-full"),
  verifyservercertificate: verify,
  sslverifyservercert: verify,
  sslca: pem("ca", "sslca"),
  sslcapath: () => undefined, // directories of certificates are not supported
  sslcert: pem("cert", "sslcert"),
  sslkey: pem("key", "sslkey"),
  connecttimeout: timeLimit("connectTimeout"),
};

/** Parameters of other clients that are ignored. */
const DROPPED: Handlings<Meaning> = dropped(`
  timezone servertimezone connectiontimezone forceconnectiontimezonetosession loc parsetime datestrings
  zerodatetimebehavior uselegacydatetimecode usejdbccompliant usejdbccomplianttimezoneshift cachedefaulttimezone
  preserveinstants
  allowpublickeyretrieval serverrsapublickeyfile defaultauthenticationplugin
  useunicode characterencoding characterset charactersetresults encoding connectioncollation collation usemb4
  connectionlimit pooltimeout poolsize pool pgbouncer singleuseconnections waitforconnections queuelimit maxidle
  idletimeout autoreconnect reconnect failoverreadonly maxreconnects minimumidle maximumpoolsize pooling maxpoolsize
  enablekeepalive keepaliveinitialdelay tcpkeepalive tcpnodelay
  sockettimeout readtimeout writetimeout querytimeout acquiretimeout
  statementcachesize cacheprepstmts useserverprepstmts prepstmtcachesize prepstmtcachesqllimit rewritebatchedstatements
  cacheresultsetmetadata cacheserverconfiguration uselocalsessionstate elidesetautocommits maintaintimestats
  usecursorfetch defaultfetchsize interpolateparams allowmultiqueries multistatements multiplestatements
  namedplaceholders typecast supportbignumbers bignumberstrings decimalnumbers jsonstrings tinyint1isbit
  nullcatalogmeanscurrent nulldatabasemeanscurrent maxallowedpacket clientfoundrows useinformationschema
  nullnamepatternmatchesall connectionattributes debug trace allowlocalinfile allowloadlocalinfile localinfile
  columnswithalias rejectreadonly`);

const HANDLINGS: Handlings<Meaning> = { ...DROPPED, ...HONOURED };

/** The driver's options for TLS. */
function sslOf(mode: Tls | undefined, options: Record<string, unknown>): Record<string, unknown> | undefined {
  const given = Object.keys(options).length > 0;
  if (mode === "off" || (mode === undefined && !given)) return undefined;
  const checked = mode === undefined || mode.startsWith("verify") || options.ca !== undefined;
  return { rejectUnauthorized: checked, ...(mode === "verify-full" ? { verifyIdentity: true } : {}), ...options };
}

/** The address in a URL. */
export interface Address {
  /** Options of mysql2. */
  readonly config: Record<string, unknown>;
  /** Those that say where the server is, for each of several hosts. */
  readonly hosts: readonly Record<string, unknown>[];
  /** Whether to connect without TLS to a server that has none. */
  readonly prefersTls: boolean;
}

/**
 * Converts a URL to options of the driver.
 *
 * @throws {TypeError} For an unknown parameter or an invalid value.
 */
export function addressOf(target: ServerTarget): Address {
  const seconds = target.parameters.has("connect_timeout"); // ORMs count these in seconds, JDBC and mysql2 in ms
  const meanings = readParameters("MySQL", target.parameters, {
    ...HANDLINGS,
    ...(seconds ? { connecttimeout: timeLimit("connectTimeout", 1e3) } : {}),
  });
  const mode = tlsFrom(Object.assign({}, ...meanings));
  const ssl = sslOf(mode, Object.assign({}, ...meanings.map(({ tlsOptions }) => tlsOptions)));
  const [first] = target.hosts;
  const hosts = target.hosts.map(({ name, port = first.port ?? 3306 }) =>
    name?.startsWith("/") ? { socketPath: name } : { host: name ?? "localhost", port } // the directory of a Unix socket, or the socket
  );
  return {
    hosts,
    config: {
      user: target.user,
      password: target.password,
      database: target.database,
      ...Object.assign({}, ...meanings.map(({ driver }) => driver)),
      ...(ssl ? { ssl } : {}),
    },
    prefersTls: mode === "prefer",
  };
}
