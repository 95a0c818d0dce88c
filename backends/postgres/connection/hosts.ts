/**
 * The hosts of a target, of which one is used at a time. The driver's own choice cannot be used: it takes a standby for
 * `read-write`, and asks the hosts in turn without a pause while none is a primary.
 */
export class HostRotation {
  readonly #hosts: readonly unknown[];
  readonly #ports: readonly unknown[];
  #index = 0;

  /** @param options Options of the driver. */
  constructor({ host, port }: Readonly<Record<string, unknown>>) {
    this.#hosts = Array.isArray(host) ? host : [host];
    this.#ports = Array.isArray(port) ? port : [port];
  }

  /** How many there are. */
  get count(): number {
    return this.#hosts.length;
  }

  /** The place of the one that is used. */
  get index(): number {
    return this.#index;
  }

  /** The driver's options for it; none where there is no choice. */
  get options(): Readonly<Record<string, unknown>> {
    if (this.count === 1) return {};
    const port = this.#ports[this.#index] ?? this.#ports[0];
    return { host: [this.#hosts[this.#index]], port: [port], target_session_attrs: undefined };
  }

  /** Goes on to the next one, unless another connection has done so since `index` was used. */
  leave(index: number): void {
    if (this.#index === index) this.#index = (index + 1) % this.count;
  }
}
