import { sessionCases } from "../sessions/cases.ts";
import { connectionsTo, onEach } from "./flavors.ts";

for (const { name, run } of sessionCases) {
  onEach(name, (place) =>
    run({
      urlOf: (mode) => `${place.url}?lockmgr_mode=${mode}`,
      backend: (options) => place.backend({ maxConnections: 3, ...options }),
      terminate: (session) => place.ask(`KILL ${session}`),
      cancel: (session) => place.ask(`KILL QUERY ${session}`),
      connections: async () => (await connectionsTo(place)).length,
    }));
}
