/**
 * Stands in for the state inside `@std/log`: what is set up now. It is only for building where JSR
 * is out of reach.
 *
 * @module
 */

import type { BaseHandler } from "./base_handler.ts";
import type { Logger } from "./logger.ts";

/** What {@linkcode state} holds. */
export interface State {
  /** The handlers in use, by name. */
  readonly handlers: Map<string, BaseHandler>;
  /** The loggers that are set up or have been asked for, by name. */
  readonly loggers: Map<string, Logger>;
}

/** What is in use now; nothing before `setup()`. */
export const state: State = { handlers: new Map(), loggers: new Map() };
