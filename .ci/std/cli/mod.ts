/**
 * Stands in for `@std/cli` 1.0.32: the argument parser, which is all that this project uses of it.
 * It is only for building where JSR is out of reach.
 *
 * @module
 */

export { type Args, parseArgs, type ParseOptions } from "./parse_args.ts";
