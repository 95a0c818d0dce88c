import { conformance } from "@lockmgr/lockmgr/conformance";
import { memoryBackend, MemoryStore } from "../../examples/backends/memory.ts";
import { test } from "../harness.ts";

const store = new MemoryStore();

conformance({
  test: (name, body) => test(`memory: ${name}`, body),
  open: () => memoryBackend(store),
  supports: { mode: "lease", queueing: false, keeping: false, adopting: false },
});
