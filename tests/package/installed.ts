/**
 * The package as npm has installed it for the program in the working directory.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";

/** The name that it is imported by. */
export const packageName = "@lockmgr/lockmgr";

/** Its folder. */
export const installedPackage: string = join(process.cwd(), "node_modules", ...packageName.split("/"));
