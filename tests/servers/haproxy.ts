/**
 * A private HAProxy in front of a server for tests, which ends connections that are idle for long.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandIn, unpack } from "./debian.ts";
import { ProxyProcess } from "./proxy_process.ts";

/** HAProxy's libraries; its package alone would bring a whole system. */
const LIBRARIES = [
  "libc6",
  "libcrypt1",
  "liblua5.3-0",
  "libopentracing-c-wrapper0",
  "libpcre2-8-0",
  "libssl3",
  "libsystemd0",
];

/** Starts one in front of a port of 127.0.0.1. A connection without a byte for `idle` seconds is ended. */
export async function startHaproxy(serverPort: number, idle = 3): Promise<ProxyProcess> {
  const prefix = await unpack({ suite: "bookworm", packages: LIBRARIES, alone: ["haproxy"] });
  return await ProxyProcess.start({
    name: "HAProxy",
    command: await commandIn(prefix, "usr/sbin/haproxy"),
    configure(port, directory) {
      const file = join(directory, "haproxy.cfg");
      const settings = `
defaults
  mode tcp
  timeout connect 5s
  timeout client ${idle * 1e3}ms
  timeout server ${idle * 1e3}ms
listen database
  bind 127.0.0.1:${port}
  server primary 127.0.0.1:${serverPort}
`;
      writeFileSync(file, settings);
      return ["-db", "-f", file];
    },
  });
}
