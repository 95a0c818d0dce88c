import { type Backend, connect, type ConnectOptions } from "../mod.ts";
import type { GlobalFlags } from "./command.ts";
import { environment } from "./host.ts";

/** Where the locks are kept: as the flags say, else the environment; `undefined` is the embedded file. */
export function targetOf(flags: GlobalFlags): string | undefined {
  return flags.url ?? environment("LOCKMGR_URL");
}

/** Opens the database that holds the locks. */
export async function openBackend(flags: GlobalFlags, options: { migrate?: boolean } = {}): Promise<Backend> {
  const settings: ConnectOptions = { ...options };
  if (flags.mode !== undefined) settings.mode = flags.mode as ConnectOptions["mode"];
  if (flags.table !== undefined) settings.table = flags.table;
  return await connect(targetOf(flags), settings);
}
