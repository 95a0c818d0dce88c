/**
 * Backends around a real one. What one of them still has to give back is its own: it is disposed of like a real one.
 *
 * @module
 */
import { type Backend, closeLocks } from "@lockmgr/lockmgr";
import { type Register, test as register } from "../harness.ts";

const wrappers = new Set<Backend>();

/** A backend that behaves as another does, but for some changes. */
export function around(real: Backend, changes: Partial<Backend>): Backend {
  const backend: Backend = Object.assign(Object.create(real), changes);
  wrappers.add(backend);
  return backend;
}

/** Registers a test that disposes of its wrappers in the end. */
export const test: Register = (name, run) =>
  register(name, async () => {
    try {
      await run();
    } finally {
      const open = [...wrappers];
      wrappers.clear();
      await Promise.all(open.map((backend) => closeLocks(backend, () => Promise.resolve())));
    }
  });
