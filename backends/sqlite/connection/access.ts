import { builtin } from "../../../core/util/runtime.ts";

/** The part of `node:fs` that is used here. */
interface Files {
  readonly constants: { readonly R_OK: number; readonly W_OK: number; readonly X_OK: number };
  accessSync(path: string, mode?: number): void;
  statSync(path: string): { isDirectory(): boolean };
}

/** What every user of the database needs, not only the one who created it. */
const NEEDED =
  "; every user of the database must be able to read and write it, its -wal and -shm files, and its directory";

/**
 * Returns why this user cannot open or write a database file; `undefined` when no reason is found. Reads permissions
 * only, and opens nothing.
 */
export function findObstacle(path: string): string | undefined {
  const files = builtin<Files>("node:fs");
  if (files === undefined) return undefined;
  const { R_OK, W_OK, X_OK } = files.constants;
  const directory = path.replace(/[/\\]?[^/\\]*$/, "") || (path.startsWith("/") ? "/" : ".");
  const shown = JSON.stringify(path);
  const folder = JSON.stringify(directory);
  try {
    if (codeOf(files, directory) === "ENOENT") return `the directory ${folder} does not exist`;
    if (codeOf(files, directory, X_OK)) return `this user may not enter the directory ${folder}${NEEDED}`;
    if (codeOf(files, path) === undefined && files.statSync(path).isDirectory()) return `${shown} is a directory`;
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      if (codeOf(files, file) === "ENOENT") continue;
      if (codeOf(files, file, R_OK)) return `this user may not read the file ${JSON.stringify(file)}${NEEDED}`;
      const code = codeOf(files, file, W_OK);
      if (code === "EROFS") return `the file ${JSON.stringify(file)} is on a file system that is mounted read-only`;
      if (code) return `this user may not write the file ${JSON.stringify(file)}${NEEDED}`;
    }
    const code = codeOf(files, directory, W_OK);
    if (code === "EROFS") return `the directory ${folder} is on a file system that is mounted read-only`;
    if (code) return `this user may not create files in the directory ${folder}${NEEDED}`;
  } catch {
    // Without permission to read the directory the driver's reason is used.
  }
  return undefined;
}

/** The code of the error with which a kind of access is denied; `undefined` when it is granted. */
function codeOf(files: Files, path: string, mode?: number): string | undefined {
  try {
    files.accessSync(path, mode);
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? "UNKNOWN";
  }
}
