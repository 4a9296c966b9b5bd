/**
 * Descriptors that Deno itself needs, taken while there are some.
 *
 * @module
 */

let reserved = false;

/**
 * Makes Deno open the two descriptors that it needs for signals now, and not half a second after the start of the
 * program or with the first subprocess: where none is left then, Deno 2.9 panics, and the program ends.
 */
export function reserveDescriptors(): void {
  if (reserved || Deno.build.os === "windows") return;
  reserved = true;
  const nothing = (): void => {};
  Deno.addSignalListener("SIGUSR2", nothing);
  Deno.removeSignalListener("SIGUSR2", nothing);
}
