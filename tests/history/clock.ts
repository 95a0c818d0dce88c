/**
 * One clock for all processes of a machine, which never jumps: the kernel's CLOCK_MONOTONIC. Node and Bun give it as
 * `process.hrtime`; Deno counts that from the start of each process and gives the kernel's own only through FFI (0.3 µs).
 *
 * @module
 */
import process from "node:process";

/** Linux's number of the clock, and of macOS. */
const CLOCK_MONOTONIC = process.platform === "darwin" ? 6 : 1;

function kernelClock(): () => number {
  const library = Deno.dlopen(process.platform === "darwin" ? "libSystem.B.dylib" : "libc.so.6", {
    clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  });
  const time = new BigInt64Array(2); // seconds and nanoseconds
  const bytes = new Uint8Array(time.buffer);
  return () => {
    if (library.symbols.clock_gettime(CLOCK_MONOTONIC, bytes) !== 0) throw new Error("Cannot read the kernel's clock");
    return Number(time[0]) * 1e6 + Number(time[1]) / 1e3;
  };
}

/** Microseconds since the machine started. */
export const sharedClock: () => number = "Deno" in globalThis
  ? kernelClock()
  : () => Number(process.hrtime.bigint()) / 1e3;
