/**
 * The conformance suite for authors of a backend, and a backend with faults for tests of a program that uses locks.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { conformance } from "@lockmgr/lockmgr/conformance";
 * import assert from "node:assert/strict";
 *
 * const promises: string[] = [];
 * const test = (name: string) => promises.push(name); // a program passes its runner's `test`, which runs the bodies
 * conformance({ test, open: () => connect("sqlite:locks.db") });
 * assert(promises.includes("getLock acquires a name once (test_getlock_clean)"));
 * ```
 *
 * @module
 */
export { conformance, type ConformanceOptions, type Supports } from "./suite.ts";
export { type BackendRequest, type Fault, type FaultScript, faultyBackend } from "./faulty_backend.ts";
