/** A function whose result is computed once and shared by all callers. */
export interface Once<Parameters extends unknown[], Value> {
  /** Returns the value that was computed, is being computed, or is computed now. */
  (...parameters: Parameters): Promise<Value>;
  /** The value computed or being computed; `undefined` when the next call computes it. */
  readonly current: Promise<Value> | undefined;
  /** Forgets the value, or only the given one: a caller that finds it stale must not discard its successor. */
  clear(stale?: Promise<Value>): void;
}

/**
 * Makes a function that calls `compute` once and shares its promise. A failed computation is forgotten: every caller
 * of that time gets its error, and the next call computes again.
 */
export function once<Parameters extends unknown[], Value>(
  compute: (...parameters: Parameters) => Promise<Value>,
): Once<Parameters, Value> {
  let current: Promise<Value> | undefined;
  const clear = (stale = current) => {
    if (current === stale) current = undefined;
  };
  const shared = (...parameters: Parameters): Promise<Value> => {
    if (current === undefined) {
      const attempt = current = compute(...parameters);
      attempt.catch(() => clear(attempt));
    }
    return current;
  };
  return Object.defineProperty(Object.assign(shared, { clear }), "current", { get: () => current }) as Once<
    Parameters,
    Value
  >;
}

/** Returns what `shared` gives, computed again while that is no longer usable. One of many callers computes it again. */
export async function usable<Value>(shared: Once<[], Value>, isUsable: (value: Value) => boolean): Promise<Value> {
  for (;;) {
    const computing = shared();
    const value = await computing;
    if (isUsable(value)) return value;
    shared.clear(computing);
  }
}
