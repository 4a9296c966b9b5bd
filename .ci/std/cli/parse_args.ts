/**
 * Stands in for `@std/cli/parse-args`: `parseArgs()` in the manner of minimist. It is only for
 * building where JSR is out of reach.
 *
 * @module
 */

import type { Aliases, BooleanNames, DoubleDash, FlagNames, Flat, Values } from "./types.ts";

const IS_LETTER = /[A-Za-z]/;
/** Not anchored in front, as in the real one: `-ab5` gives `a` the value `"b5"`. */
const ENDS_WITH_NUMBER = /-?\d+(\.\d*)?(e-?\d+)?$/;
const STARTS_LIKE_FLAG = /^--?[^-]/;
const LONG_WITHOUT_VALUE = /^--[^=]+$/;

/** What {@linkcode parseArgs} returns: the flags by name, and the rest. */
export type Args<
  // deno-lint-ignore no-explicit-any -- as the real one: callers may use undeclared flags unchecked
  TArgs extends Record<string, unknown> = Record<string, any>,
  TDoubleDash extends boolean | undefined = undefined,
> = Flat<
  & TArgs
  & {
    /** The arguments that belong to no flag. */
    _: Array<string | number>;
  }
  & DoubleDash<TDoubleDash>
>;

/** Options of {@linkcode parseArgs}. */
export interface ParseOptions<
  TBooleans extends BooleanNames = BooleanNames,
  TStrings extends FlagNames = FlagNames,
  TCollectable extends FlagNames = FlagNames,
  TNegatable extends FlagNames = FlagNames,
  TDefaults extends Record<string, unknown> | undefined = Record<string, unknown> | undefined,
  TAliases extends Aliases | undefined = Aliases | undefined,
  TDoubleDash extends boolean | undefined = boolean | undefined,
> {
  /**
   * Whether what follows `--` goes to the result's `"--"` and not to its `_`.
   *
   * @default {false}
   */
  "--"?: TDoubleDash;

  /**
   * Further names of flags.
   *
   * @default {{}}
   */
  alias?: TAliases;

  /**
   * The flags that take no value and are `false` when they are not given; `true` for all long ones
   * that have no `=`.
   *
   * @default {false}
   */
  boolean?: TBooleans | ReadonlyArray<Extract<TBooleans, string>>;

  /**
   * The values of flags that are not given.
   *
   * @default {{}}
   */
  default?: TDefaults;

  /**
   * Whether everything behind the first argument that belongs to no flag is left unparsed.
   *
   * @default {false}
   */
  stopEarly?: boolean;

  /**
   * The flags whose value stays a string, whatever it looks like.
   *
   * @default {[]}
   */
  string?: TStrings | ReadonlyArray<Extract<TStrings, string>>;

  /**
   * The flags that may be given several times and have an array of values.
   *
   * @default {[]}
   */
  collect?: TCollectable | ReadonlyArray<Extract<TCollectable, string>>;

  /**
   * The flags that `--no-name` makes `false`.
   *
   * @default {[]}
   */
  negatable?: TNegatable | ReadonlyArray<Extract<TNegatable, string>>;

  /**
   * Called for each argument that none of `boolean`, `string`, `collect` and `alias` names; `false`
   * leaves it out of the result. `key` is `undefined` for what is no flag.
   */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/**
 * Parses the arguments of a command line.
 *
 * @param args The arguments, such as `Deno.args`.
 * @param options Which flags there are, and of what kind.
 * @returns The flags by name, the other arguments in `_`. A value that looks like a number is one,
 * unless the flag is a string.
 * @throws {TypeError} when an alias is `undefined`.
 */
export function parseArgs<
  TArgs extends Values<TBooleans, TStrings, TCollectable, TNegatable, TDefaults, TAliases>,
  TDoubleDash extends boolean | undefined = undefined,
  TBooleans extends BooleanNames = undefined,
  TStrings extends FlagNames = undefined,
  TCollectable extends FlagNames = undefined,
  TNegatable extends FlagNames = undefined,
  TDefaults extends Record<string, unknown> | undefined = undefined,
  TAliases extends Aliases<TAliasArgNames, TAliasNames> | undefined = undefined,
  TAliasArgNames extends string = string,
  TAliasNames extends string = string,
>(
  args: readonly string[],
  options: ParseOptions<
    TBooleans,
    TStrings,
    TCollectable,
    TNegatable,
    TDefaults,
    TAliases,
    TDoubleDash
  > = {},
): Args<TArgs, TDoubleDash> {
  const end = args.indexOf("--");
  const parser = new Parser(options);
  parser.parse(end < 0 ? args : args.slice(0, end));
  parser.complete();
  const { result } = parser;
  const unparsed = end < 0 ? [] : args.slice(end + 1);
  if (options["--"]) result["--"] = unparsed;
  else result._.push(...unparsed);
  // The names are in the options only: no checker can follow them through the parsing.
  return result as Args<TArgs, TDoubleDash>;
}

type FlagValue = string | number | boolean;

class Parser {
  /** What has been found so far. */
  readonly result: Record<string, unknown> & { _: Array<string | number> } = { _: [] };

  /** The other names of each name that has some. */
  readonly #aliases = new Map<string, Set<string>>();
  /** Each of these holds the aliases of its names, too. */
  readonly #booleans: Set<string>;
  readonly #strings: Set<string>;
  readonly #collected: Set<string>;
  readonly #negatable: Set<string>;
  readonly #allBooleans: boolean;
  readonly #defaults: Record<string, unknown>;
  readonly #stopEarly: boolean;
  readonly #unknown: ParseOptions["unknown"];

  constructor(options: ParseOptions) {
    for (const [name, others] of Object.entries(options.alias ?? {})) {
      if (others === undefined) throw new TypeError("Alias value must be defined");
      const names = [name, ...(typeof others === "string" ? [others] : others)];
      for (const each of names) {
        this.#aliases.set(each, new Set(names.filter((other) => other !== each)));
      }
    }
    const { boolean = false } = options;
    this.#allBooleans = boolean === true;
    this.#booleans = this.#withAliases(typeof boolean === "boolean" ? [] : boolean);
    this.#strings = this.#withAliases(options.string);
    this.#collected = this.#withAliases(options.collect);
    this.#negatable = this.#withAliases(options.negatable);
    this.#defaults = options.default ?? {};
    this.#stopEarly = options.stopEarly ?? false;
    this.#unknown = options.unknown;
  }

  /** Reads the arguments in front of `--`. */
  parse(args: readonly string[]): void {
    for (let at = 0; at < args.length; at++) {
      const arg = args[at] ?? "";
      const following = args[at + 1];
      if (arg.startsWith("--")) {
        if (this.#long(arg, following)) at++;
      } else if (arg.startsWith("-") && arg !== "-") {
        if (this.#short(arg, following)) at++;
      } else {
        if (this.#unknown?.(arg) !== false) {
          this.result._.push(this.#strings.has("_") ? arg : numberOr(arg));
        }
        if (this.#stopEarly) {
          this.result._.push(...args.slice(at + 1));
          return;
        }
      }
    }
  }

  /** Adds what was not given: the defaults, `false` for booleans, empty arrays. */
  complete(): void {
    for (const [name, value] of Object.entries(this.#defaults)) {
      if (!this.#has(name)) this.#put(name, value, false);
    }
    for (const name of this.#booleans) {
      if (!this.#has(name)) this.#putOne(name, this.#collected.has(name) ? [] : false, false);
    }
    for (const name of this.#strings) {
      if (this.#collected.has(name) && !this.#has(name)) this.#putOne(name, [], false);
    }
  }

  /** Reads `--name`, `--name=value`, `--no-name`; tells whether it took what follows. */
  #long(arg: string, following: string | undefined): boolean {
    const negated = arg.startsWith("--no-") && arg.length > "--no-".length;
    const text = arg.slice(negated ? "--no-".length : "--".length);
    const equals = text.indexOf("=", 1);
    if (equals > 0) {
      const name = text.slice(0, equals);
      const value = text.slice(equals + 1);
      this.#set(name, this.#booleans.has(name) ? value !== "false" : value, arg);
      return false;
    }
    if (negated && this.#negatable.has(text)) {
      this.#set(text, false, arg, false);
      return false;
    }
    const name = negated ? `no-${text}` : text;
    const mayTake = !this.#allBooleans && following?.startsWith("-") === false;
    return this.#setWithFollowing(name, arg, following, mayTake);
  }

  /** Reads `-a`, `-abc`, `-n5`, `-a=value`; tells whether it took what follows. */
  #short(arg: string, following: string | undefined): boolean {
    const last = arg.length - 1;
    for (let at = 1; at < last; at++) {
      const letter = arg.charAt(at);
      const value = this.#attached(letter, arg.slice(at + 1));
      if (value !== undefined) {
        this.#set(letter, value, arg);
        return false;
      }
      const isDash = at === last - 1 && arg.endsWith("-");
      this.#set(letter, isDash ? "-" : this.#bare(letter), arg);
    }
    const name = arg.charAt(last);
    if (name === "-") return false;
    const mayTake = following !== undefined && !STARTS_LIKE_FLAG.test(following);
    return this.#setWithFollowing(name, arg, following, mayTake);
  }

  /** The value that is written right behind a letter, if the rest of the argument is one. */
  #attached(letter: string, rest: string): string | undefined {
    if (rest === "-") return undefined;
    if (rest === "=") return "";
    if (IS_LETTER.test(letter)) {
      const value = /=(.+)/.exec(rest)?.[1];
      if (value !== undefined) return value;
      if (ENDS_WITH_NUMBER.test(rest)) return rest;
    }
    return rest.length > 1 && /^\W/.test(rest) ? rest : undefined;
  }

  /** Sets a flag to the argument behind it if that can be its value; tells whether it was. */
  #setWithFollowing(
    name: string,
    arg: string,
    following: string | undefined,
    mayTake: boolean,
  ): boolean {
    const takes = following !== undefined && following !== "" && mayTake && !this.#isBoolean(name);
    if (takes) {
      this.#set(name, following, arg);
      return true;
    }
    if (following === "true" || following === "false") {
      this.#set(name, following === "true", arg);
      return true;
    }
    this.#set(name, this.#bare(name), arg);
    return false;
  }

  #isBoolean(name: string): boolean {
    const others = [...this.#aliases.get(name) ?? []];
    return this.#booleans.has(name) || others.some((other) => this.#booleans.has(other));
  }

  /** The value of a flag that has none. */
  #bare(name: string): FlagValue {
    return this.#strings.has(name) ? "" : true;
  }

  #set(name: string, value: FlagValue, arg: string, mayCollect = true): void {
    const known = this.#booleans.has(name) || this.#strings.has(name) ||
      this.#collected.has(name) || this.#aliases.has(name) ||
      (this.#allBooleans && LONG_WITHOUT_VALUE.test(arg));
    if (!known && this.#unknown?.(arg, name, value) === false) return;
    const parsed = typeof value === "string" && !this.#strings.has(name) ? numberOr(value) : value;
    this.#put(name, parsed, mayCollect && this.#collected.has(name));
  }

  /** Puts a value under a name and all its aliases. */
  #put(name: string, value: unknown, collect: boolean): void {
    for (const each of [name, ...this.#aliases.get(name) ?? []]) {
      this.#putOne(each, value, collect);
    }
  }

  #putOne(name: string, value: unknown, collect: boolean): void {
    const path = name.split(".");
    const last = path.pop() ?? "";
    let holder: Record<string, unknown> = this.result;
    for (const step of path) {
      if (leadsToPrototype(holder, step)) return;
      // A flag `a` and a flag `a.b` in one line: as the real one, this throws at the next step.
      holder = (holder[step] ??= {}) as Record<string, unknown>;
    }
    if (leadsToPrototype(holder, last)) return;
    const before = holder[last];
    if (collect && Array.isArray(before)) before.push(value);
    else if (collect) holder[last] = before ? [before, value] : [value];
    else holder[last] = value;
  }

  #has(name: string): boolean {
    let holder: unknown = this.result;
    for (const step of name.split(".")) {
      if (!Object.hasOwn(Object(holder), step)) return false;
      holder = Reflect.get(Object(holder), step);
    }
    return true;
  }

  #withAliases(names: string | readonly string[] | undefined = []): Set<string> {
    const all = new Set<string>();
    for (const name of typeof names === "string" ? [names] : names) {
      if (name === "") continue;
      all.add(name);
      for (const other of this.#aliases.get(name) ?? []) all.add(other);
    }
    return all;
  }
}

/** The number that a text is, or the text. */
function numberOr(text: string): string | number {
  return /\S/.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

function leadsToPrototype(holder: Record<string, unknown>, name: string): boolean {
  return name === "__proto__" ||
    (name === "constructor" && typeof holder[name] === "function");
}
