/**
 * The functions of `Atomics`, as they were before any handler's module was loaded: one that replaces them would be handed
 * the memory that the isolates of a server share. For use as `import * as atomics`.
 *
 * @module
 */

export const add: typeof Atomics.add = Atomics.add;
export const compareExchange: typeof Atomics.compareExchange = Atomics.compareExchange;
export const exchange: typeof Atomics.exchange = Atomics.exchange;
export const load: typeof Atomics.load = Atomics.load;
export const notify: typeof Atomics.notify = Atomics.notify;
export const or: typeof Atomics.or = Atomics.or;
export const store: typeof Atomics.store = Atomics.store;
export const sub: typeof Atomics.sub = Atomics.sub;
export const wait: typeof Atomics.wait = Atomics.wait;
export const waitAsync: typeof Atomics.waitAsync = Atomics.waitAsync;
