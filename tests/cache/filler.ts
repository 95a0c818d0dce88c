/**
 * Fills a directory of a cache. It says when it begins and when the directory is there, and goes on between the two when
 * it is told to.
 *
 * @module
 */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { cached } from "./cache.ts";

const [cache, content] = process.argv.slice(2);
process.env.LOCKMGR_TEST_CACHE = cache;
const path = await cached("programs", async (directory) => {
  await writeFile(join(directory, "first"), content);
  console.log(JSON.stringify("begun"));
  await once(process.stdin, "data");
  await writeFile(join(directory, "second"), content);
});
console.log(JSON.stringify(path));
process.exit();
