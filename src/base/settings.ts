/**
 * Settings of servers: declared once, given as static, option, field or property.
 *
 * A class declares its settings with {@linkcode defineSettings}, in a static block: the default of each becomes a static
 * property of the class, and its value an accessor of the instances. The constructor of the base of all servers takes
 * them from the options and the statics; `checkSettings()` takes fields of subclasses and checks what is set.
 *
 * @module
 */
import { nameOf } from "./errors.ts";
import { shown } from "./options.ts";

/** Checks the value of an option: gives it back, or throws an error that names both. */
export type Check<Value> = (name: string, value: unknown) => Value;

/** What declares each setting of some options. */
export type Settings<Options> = {
  readonly [Name in keyof Options]-?: {
    /** What counts where nothing is given. */
    readonly default: Options[Name];
    readonly check: Check<Options[Name]>;
  };
};

/** How the settings of a class take effect. */
export interface SettingsEffect<Server> {
  /**
   * Called when one is set, and then has effect at once: its value is checked as it is set. Without this each is
   * checked when the server is bound or begins to serve.
   */
  onSet?: (server: Server) => void;
  /** Whether they have no effect any more once the server is bound. */
  fixedByBind?: boolean;
}

type Values = Record<string, unknown>;

/** The settings of a class and its bases, a property of the prototype. */
const SETTINGS = Symbol("settings");
/** What a server's settings are, a property of the server. */
const VALUES = Symbol("values");
/** What a server has been bound with, a property of the server. */
const BOUND = Symbol("bound");

interface Setting {
  readonly check: Check<unknown>;
  readonly fixedByBind: boolean;
}

interface Configured {
  readonly [SETTINGS]: Readonly<Record<string, Setting>>;
  readonly [VALUES]: Values;
  readonly [BOUND]?: Readonly<Values>;
}

/** The settings that some class has; another refuses options of these names. */
const declared = new Set<string>();

/** Declares the settings that a class has beside those of its base. */
export function defineSettings<Options, Server extends object>(
  Class: { readonly prototype: Server },
  settings: Settings<Options>,
  { onSet, fixedByBind = false }: SettingsEffect<Server> = {},
): void {
  const { prototype } = Class;
  const all = { ...(prototype as Partial<Configured>)[SETTINGS] };
  for (const name of Object.keys(settings) as (keyof Options & string)[]) {
    const { default: value, check } = settings[name];
    declared.add(name);
    all[name] = { check, fixedByBind };
    Object.defineProperty(Class, name, {
      value,
      writable: true,
      enumerable: true,
      configurable: true,
    });
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: Configured) {
        return this[VALUES][name];
      },
      set(this: Server & Configured, value: unknown) {
        this[VALUES][name] = onSet === undefined ? value : check(name, value);
        onSet?.(this);
      },
    });
  }
  Object.defineProperty(prototype, SETTINGS, { value: all });
}

/**
 * Gives a server its settings: each is the option, or else the static of its class.
 *
 * @throws {TypeError} When the class has no such setting, or a value is none.
 * @throws {RangeError} When a value is out of range.
 */
export function takeSettings(server: object, options: object): void {
  for (const name of declared) {
    if (Reflect.get(options, name) === undefined || isSettable(server, name)) continue;
    throw noSuchSetting("option", name, server);
  }
  const values: Values = {};
  for (const [name, { check }] of Object.entries((server as Configured)[SETTINGS])) {
    const given: unknown = Reflect.get(options, name);
    values[name] = check(name, given === undefined ? Reflect.get(server.constructor, name) : given);
  }
  Object.defineProperty(server, VALUES, { value: values });
}

/** Notes what a server is bound with, for {@linkcode checkSettings}. */
export function noteBound(server: object): void {
  const fixed = Object.entries((server as Configured)[SETTINGS])
    .filter(([, { fixedByBind }]) => fixedByBind)
    .map(([name]) => [name, Reflect.get(server, name)]);
  Object.defineProperty(server, BOUND, { value: Object.fromEntries(fixed), configurable: true });
}

/**
 * Checks the settings of a server, those that a subclass has written as fields included.
 *
 * @throws {TypeError} When there is no such setting, a value is none, or has been changed since the bind, when it has no
 * effect any more.
 * @throws {RangeError} When a value is out of range.
 */
export function checkSettings(server: object): void {
  adoptFields(server);
  for (const [name, { check }] of Object.entries((server as Configured)[SETTINGS])) {
    check(name, Reflect.get(server, name));
  }
  for (const [name, value] of Object.entries((server as Configured)[BOUND] ?? {})) {
    const now: unknown = Reflect.get(server, name);
    if (now === value) continue;
    throw new TypeError(
      `Cannot set '${name}' to ${shown(now)}: the server was bound with ${shown(value)} before; ` +
        `write 'static override ${name} = ${shown(now)}', or give an option`,
    );
  }
}

/** Whether a server's fields can be taken for settings; `checkSettings()` says why not. */
export function fieldsFit(server: object): boolean {
  try {
    adoptFields(server);
    return true;
  } catch {
    return false;
  }
}

/** Passes on to the setters what a subclass has written as fields (`override maxThreads = 8`), which would hide them. */
function adoptFields(server: object): void {
  const prototype = Object.getPrototypeOf(server);
  for (const name of declared) {
    const field = Object.getOwnPropertyDescriptor(server, name);
    if (field === undefined || !(name in prototype)) continue;
    if (!isSettable(prototype, name)) throw noSuchSetting("field", name, server);
    Reflect.deleteProperty(server, name);
    try {
      Reflect.set(server, name, field.value);
    } catch (error) {
      Object.defineProperty(server, name, field); // so that the next call finds it, too
      throw error;
    }
  }
}

function isSettable(object: object | null, name: string): boolean {
  for (let at = object; at !== null; at = Object.getPrototypeOf(at)) {
    const property = Object.getOwnPropertyDescriptor(at, name);
    if (property !== undefined) return property.set !== undefined;
  }
  return false;
}

function noSuchSetting(what: string, name: string, server: object): TypeError {
  const known = nameOf(server.constructor);
  return new TypeError(`Cannot use ${what} '${name}' with ${known}: it has no such setting`);
}
