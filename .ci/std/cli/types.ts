/**
 * Stands in for the types behind `parseArgs()` of `@std/cli`: what is in the result, as told by the
 * options. It is only for building where JSR is out of reach. Names with a dot are left to the
 * index signature, as `unknown`.
 *
 * @module
 */

/** What names the flags in option `boolean`. */
export type BooleanNames = boolean | string | undefined;

/** What names the flags in the other options. */
export type FlagNames = string | undefined;

/** Names, and the further names of each. */
export type Aliases<TNames = string, TOthers extends string = string> = Partial<
  Record<Extract<TNames, string>, TOthers | ReadonlyArray<TOthers>>
>;

/** The names that a type can tell something about. */
type Plain<TNames> = Exclude<Extract<TNames, string>, `${string}.${string}`>;

type OrFalse<TValue, TName, TNegatable> = TName extends TNegatable ? TValue | false : TValue;

type Flags<TBooleans, TStrings, TCollectable, TNegatable> =
  & { [Name in Exclude<Plain<TBooleans>, TCollectable>]: boolean }
  & { [Name in Extract<Plain<TBooleans>, TCollectable>]: boolean[] }
  & { [Name in Exclude<Plain<TStrings>, TCollectable>]?: OrFalse<string, Name, TNegatable> }
  & { [Name in Extract<Plain<TStrings>, TCollectable>]: OrFalse<string[], Name, TNegatable> }
  & {
    [Name in Exclude<Plain<TCollectable>, TBooleans | TStrings>]: OrFalse<
      unknown[],
      Name,
      TNegatable
    >;
  };

/** A flag that has a default is always there, and is what was passed or the default. */
type WithDefaults<TFlags, TDefaults> = [TDefaults] extends [undefined] ? TFlags
  :
    & Omit<TFlags, keyof TDefaults>
    & {
      [Name in keyof TDefaults]: Name extends keyof TFlags
        ? TDefaults[Name] | NonNullable<TFlags[Name]>
        : unknown;
    };

type WithAliases<TFlags, TAliases> = {
  [Name in keyof TFlags as Name | OtherNames<Name, TAliases>]: TFlags[Name];
};

type OtherNames<TName, TAliases> = TName extends keyof TAliases
  ? TAliases[TName] extends infer Others
    ? Others extends readonly string[] ? Literal<Others[number]> : Literal<Others>
  : never
  : never;

/** A name known only as "some string" would swallow all the others. */
type Literal<TName> = TName extends string ? string extends TName ? never : TName : never;

/** The flags of the result: `any` where no flag is declared, as nothing is known there. */
export type Values<
  TBooleans extends BooleanNames,
  TStrings extends FlagNames,
  TCollectable extends FlagNames,
  TNegatable extends FlagNames,
  TDefaults extends Record<string, unknown> | undefined,
  TAliases extends Aliases | undefined,
> = [undefined, undefined, undefined] extends
  [false extends TBooleans ? undefined : TBooleans, TStrings, TCollectable]
  // deno-lint-ignore no-explicit-any -- as the real one: callers may use such flags unchecked
  ? Record<string, any>
  :
    & Record<string, unknown>
    & WithAliases<
      WithDefaults<Flags<TBooleans, TStrings, TCollectable, TNegatable>, TDefaults>,
      TAliases
    >;

/** The part of the result that option `"--"` adds. */
export type DoubleDash<TDoubleDash extends boolean | undefined> = boolean extends TDoubleDash
  ? { "--"?: string[] }
  : true extends TDoubleDash ? { "--": string[] }
  : Record<never, never>;

/** One object type in place of an intersection: what an editor shows. */
export type Flat<TObject> = { [Name in keyof TObject]: TObject[Name] };
