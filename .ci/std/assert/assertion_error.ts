/**
 * Stands in for `AssertionError` of `@std/assert`. It is only for building where JSR is out of
 * reach.
 *
 * @module
 */

/** What every assertion of this package throws. */
export class AssertionError extends Error {
  /**
   * Makes an error whose name is `"AssertionError"`.
   *
   * @param message What was expected and what was found.
   * @param options May hold the `cause`.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}
