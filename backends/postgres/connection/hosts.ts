import { Rotation } from "../../../core/util/rotation.ts";

/** Options of the driver that say where the server is. */
type Place = Readonly<Record<string, unknown>>;

/**
 * Returns the hosts of the driver's options, of which one is used at a time. The driver's own choice cannot be used: it
 * takes a standby for `read-write`, and asks the hosts in turn without a pause while none is a primary.
 */
export function hostsOf({ host, port }: Place): Rotation<Place> {
  if (!Array.isArray(host) || host.length <= 1) return new Rotation([{}]); // there is no choice
  const ports = Array.isArray(port) ? port : [port];
  return new Rotation(host.map((name, index) => {
    return { host: [name], port: [ports[index] ?? ports[0]], target_session_attrs: undefined };
  }));
}
