/**
 * The command's output, and what signals do to it, as under Deno.
 *
 * @module
 */
import "../cli/output_test.ts";
import "../cli/signals_test.ts";
