/** How the pauses between tries grow. */
export interface BackoffOptions {
  /** The first pause (ms). */
  readonly first: number;
  /** The longest pause (ms). */
  readonly longest: number;
  /** What each pause is multiplied by to give the next. @default 2 */
  readonly factor?: number;
  /** The width of the random spread around each pause, as a share of it: 1 is from 0.5 to 1.5 times. @default 0 */
  readonly jitter?: number;
}

/** The pauses between tries of one operation. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #pause: number;

  constructor(options: BackoffOptions) {
    this.#options = { factor: 2, jitter: 0, ...options };
    this.#pause = options.first;
  }

  /** Returns the next pause (ms), and lengthens the one after it. */
  next(): number {
    const { longest, factor, jitter } = this.#options;
    const pause = this.#pause;
    this.#pause = Math.min(pause * factor, longest);
    return pause * (1 + jitter * (Math.random() - 0.5));
  }

  /** Starts again with the first pause. */
  reset(): void {
    this.#pause = this.#options.first;
  }
}
