/**
 * Stands in for `equal()` of `@std/assert`: equality by structure. It is only for building where
 * JSR is out of reach.
 *
 * @module
 */

/** The pairs of objects whose comparison is under way or has succeeded: what ends a cycle. */
type Pairs = Map<object, object>;

const TypedArray: typeof Uint8Array = Object.getPrototypeOf(Uint8Array);

/** Classes of which `String(instance)` says everything; their getters need not be compared. */
const TOLD_BY_STRING: ReadonlySet<unknown> = new Set([
  RegExp.prototype,
  URL.prototype,
  URLSearchParams.prototype,
  Intl.Locale.prototype,
  ...temporalPrototypes(),
]);

/**
 * Tells whether two values have the same structure: equal primitives (`0` and `-0` are, `NaN` and
 * `NaN` are), the same function, or objects of one class with equal contents.
 *
 * @param a One value.
 * @param b The other.
 * @returns `true` when they are equal.
 * @throws {TypeError} when it meets two different `WeakMap`s or `WeakSet`s.
 */
export function equal(a: unknown, b: unknown): boolean {
  return same(a, b, new Map());
}

function same(a: unknown, b: unknown, pairs: Pairs): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (kind(a) !== kind(b)) return false;
  if (a instanceof TypedArray) return sameElements(a, b as Uint8Array);
  if (isBuffer(a)) return sameElements(new Uint8Array(a), new Uint8Array(b as ArrayBuffer));
  if (a instanceof WeakMap) throw new TypeError("Cannot compare WeakMap instances");
  if (a instanceof WeakSet) throw new TypeError("Cannot compare WeakSet instances");
  if (a instanceof WeakRef) return same(a.deref(), (b as WeakRef<WeakKey>).deref(), pairs);
  if (pairs.get(a) === b) return true;
  if (Object.keys(a).length !== Object.keys(b).length) return false;

  pairs.set(a, b);
  const result = sameContents(a, b, pairs);
  if (!result) pairs.delete(a);
  return result;
}

function sameContents(a: object, b: object, pairs: Pairs): boolean {
  if (isCollection(a) && isCollection(b)) return sameEntries(a, b, pairs);
  if (TOLD_BY_STRING.has(Object.getPrototypeOf(a))) return String(a) === String(b);
  const keys = isPlain(a) ? Reflect.ownKeys({ ...a, ...b }) : [...allKeys(a), ...allKeys(b)];
  return keys.every((key) =>
    (key in a) === (key in b) && same(Reflect.get(a, key), Reflect.get(b, key), pairs)
  );
}

function sameElements(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) {
    if (a[at] !== b[at] && !Object.is(a[at], b[at])) return false;
  }
  return true;
}

type Collection = Map<unknown, unknown> | Set<unknown>;

function sameEntries(a: Collection, b: Collection, pairs: Pairs): boolean {
  if (a.size !== b.size) return false;
  const others = [...b.entries()];
  const value = (key: unknown) => b instanceof Map ? b.get(key) : key;
  if ([...a.keys()].every((key) => !isObjectOrFunction(key))) {
    return [...a.entries()].every(([key, mine]) => b.has(key) && same(mine, value(key), pairs));
  }
  return [...a.entries()].every(([key, mine]) =>
    others.some(([otherKey, other]) => same(key, otherKey, pairs) && same(mine, other, pairs))
  );
}

/** What the prototype says, with `Object.create(null)` and `{}` counted as one kind. */
function kind(value: object): object | null {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype ? null : prototype;
}

/** The own and inherited keys, getters and hidden ones too: an error's stack is one of them. */
function allKeys(value: object): Set<string | symbol> {
  const keys = new Set<string | symbol>();
  let holder: object | null = value;
  while (holder !== null && holder !== Object.prototype && holder !== Array.prototype) {
    for (const key of Reflect.ownKeys(holder)) keys.add(key);
    holder = Object.getPrototypeOf(holder);
  }
  return keys;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function isObjectOrFunction(value: unknown): boolean {
  return isObject(value) || typeof value === "function";
}

function isPlain(value: object): boolean {
  return kind(value) === null || Object.getPrototypeOf(value) === Array.prototype;
}

function isBuffer(value: object): value is ArrayBuffer | SharedArrayBuffer {
  return value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;
}

function isCollection(value: object): value is Collection {
  return value instanceof Map || value instanceof Set;
}

function temporalPrototypes(): unknown[] {
  // Read by name: not every runtime has it.
  const temporal: object | undefined = Reflect.get(globalThis, "Temporal");
  if (temporal === undefined) return [];
  return [
    "Duration",
    "Instant",
    "PlainDate",
    "PlainDateTime",
    "PlainMonthDay",
    "PlainTime",
    "PlainYearMonth",
    "ZonedDateTime",
  ].map((name) => Reflect.get(temporal, name)?.prototype);
}
