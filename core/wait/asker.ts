/**
 * One caller of a verb, told once what came of its request. No promise of its own: each on the way from a backend to
 * `getLock` was 3 % of what this library adds to a statement.
 */
export interface Asker<Request, Answer> {
  /** What is asked for. It stays the same until the answer. */
  readonly request: Request;
  /** Told when (ms, monotonic) the request is sent, each time just before: those who travel together share one look at the clock. */
  sent?(at: number): void;
  /** Told before the request is sent a second time: what it asked for may have happened already. */
  repeats?(): void;
  /** Told the answer. */
  answered(answer: Answer): void;
  /** Told why there is no answer. */
  failed(error: unknown): void;
}
