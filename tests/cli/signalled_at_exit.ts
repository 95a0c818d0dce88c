/**
 * Sends its process SIGTERM when that exits: the last moment at which a signal can come.
 *
 * @module
 */
import process from "node:process";

process.on("exit", () => process.kill(process.pid, "SIGTERM"));
