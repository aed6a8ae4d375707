/**
 * `step` and `workflow`: plain functions become builders of effects.
 *
 * Rule 1: calling one builds a value and runs nothing; the plain function stays at hand as `fn`.
 * Rule 2: arguments are spelt as JSON at the call, so a step never shares a mutable value with the workflow.
 * Rule 3: what `yield*` hands to the workflow is what was read from the journaled bytes, in the first run too. `Decoded<T>` says that in
 * types; a schema (`result: schema`) says it at run time as well.
 * Rule 4: a name is an identity, and is written down: names of functions do not survive a bundler.
 */

import { fromBytes, fromText, toText, type Json } from "../codec/json.js";
import { ChildFailed, DefinitionError, PayloadError, StepFailed, StepInterrupted, TimedOut, describe } from "../errors.js";
import { Call, Step, answer, checkStep, readBy } from "../model/effects.js";
import type { Answers, Reader, RunOptions, StepOptions, StepSpec, Workflow, WorkflowSpec } from "../model/effects.js";
import { readFailure, revive } from "../model/failure.js";
import { checkRetry, type Retry } from "../model/retry.js";

/** What a value is after a trip through JSON. */
export type Decoded<T> = unknown extends T
  ? any
  : T extends null | boolean | number | bigint | string
    ? T
    : T extends undefined | void
      ? null
      : T extends { toJSON(): infer J }
        ? Decoded<J>
        : T extends Uint8Array
          ? string
          : T extends (...args: never[]) => unknown
            ? never
            : T extends object
              ? { [K in keyof T]: K extends symbol ? never : undefined extends T[K] ? Decoded<Exclude<T[K], undefined>> | undefined : Decoded<T[K]> }
              : never;

/** Checks and reads a decoded value: a function, or any object with `parse` (zod, valibot's safe wrappers, your own). */
export type Schema<T> = ((value: Json) => T) | { parse(value: unknown): T };

export function readerOf<T>(schema: Schema<T> | undefined): Reader<T> {
  if (schema === undefined) return (value) => value as T;
  return typeof schema === "function" ? schema : (value) => schema.parse(value);
}

/** A step: calling it builds an effect. */
export interface StepFunction<A extends unknown[], R> {
  (...args: A): Step<R>;
  readonly fn: (...args: A) => unknown;
  readonly spec: StepSpec;
}

export interface StepDefaults<R> extends Omit<StepOptions, "id" | "key"> {
  /** Checks the result where it comes back; its type is the step's. */
  readonly result?: Schema<R>;
}

/** Make a plain or async function a step: something done outside, whose result is journaled. */
export function step<A extends unknown[], R>(
  name: string,
  fn: (...args: A) => unknown,
  options: StepDefaults<R> & { readonly result: Schema<R> },
): StepFunction<A, R>;
export function step<A extends unknown[], R>(
  name: string,
  fn: (...args: A) => R,
  options?: StepDefaults<never>,
): StepFunction<A, Decoded<Awaited<R>>>;
export function step(
  name: string,
  fn: (...args: unknown[]) => unknown,
  { result, ...options }: StepDefaults<unknown> = {},
): StepFunction<unknown[], unknown> {
  requireName("step", name, fn);
  const defaults = checkStep(`step ${name}`, options);
  const reader = readerOf(result);
  const raises = [...(options.raises ?? []), TimedOut];
  const failure = (payload: Uint8Array) => {
    const { type, message, attempts, traceback, args } = readFailure(fromBytes(payload));
    if (type === "replay.errors.StepInterrupted") return new StepInterrupted(name);
    const itself = revive(type === "replay.errors.TimedOut" ? "TimedOut" : type, args, raises);
    return itself ?? new StepFailed(name, type, message, attempts, traceback);
  };
  const answers: Answers = new Map([
    ["step_completed", answer(reader, `result of step ${name}`)],
    ["step_failed", { failed: true, decode: failure }],
  ]);
  const spec: StepSpec = {
    name,
    answers,
    defaults,
    invoke: (input) => fn(...argumentsOf(input, `arguments of step ${name}`)),
    encodeResult: (value) => toText(value, `result of step ${name}`),
  };
  const build = (...args: unknown[]) => new Step<unknown>(spec, spellArguments(args, `step ${name}`), defaults);
  return Object.assign(build, { fn, spec });
}

/** A workflow: calling it builds something to start, or, yielded in another workflow, a child run. */
export interface WorkflowFunction<A extends unknown[], R> {
  (...args: A): Call<R>;
  readonly fn: (...args: never[]) => Workflow<unknown>;
  readonly spec: WorkflowSpec;
}

export interface WorkflowOptions<R> {
  /** Which of several registered versions it is; empty when there is one. */
  readonly version?: string;
  /** Patches that its code knows. */
  readonly patches?: readonly string[];
  /** The task queue whose workers drive it. */
  readonly queue?: string;
  /** When a failed run is begun again. */
  readonly retry?: Retry;
  /** Checks the result where a parent or a client reads it. */
  readonly result?: Schema<R>;
}

/** Make a generator function a workflow. */
export function workflow<A extends unknown[], R>(
  name: string,
  fn: (...args: A) => Workflow<R>,
  options: WorkflowOptions<Decoded<R>> = {},
): WorkflowFunction<A, Decoded<R>> {
  return define(name, fn, options, false);
}

/** A workflow that begins again at its savepoints with state: its first parameter is the newest one's, or undefined. */
export function resumable<S, A extends unknown[], R>(
  name: string,
  fn: (state: S | undefined, ...args: A) => Workflow<R>,
  options: WorkflowOptions<Decoded<R>> = {},
): WorkflowFunction<A, Decoded<R>> {
  return define(name, fn, options, true);
}

function define<A extends unknown[], R>(
  name: string,
  fn: (...args: any) => Workflow<R>,
  options: WorkflowOptions<Decoded<R>>,
  takesState: boolean,
): WorkflowFunction<A, Decoded<R>> {
  requireName("workflow", name, fn);
  const owner = `workflow ${name}`;
  if (options.retry) checkRetry(owner, options.retry);
  const how: RunOptions = options.queue ? { queue: options.queue } : {};
  const reader = readerOf(options.result);
  const read = (value: Json) => readBy(reader, value, `result of ${owner}`);
  const failure = (payload: Uint8Array) => {
    const failed = readFailure(fromBytes(payload));
    const [run = "", status = "failed"] = (failed.args?.length ?? 0) > 1 ? (failed.args as string[]) : [];
    return new ChildFailed(run, name, failed.type, failed.message, status);
  };
  const build = (...args: unknown[]) => new Call<never>(spec, spellArguments(args, owner), how);
  const spec: WorkflowSpec = {
    name,
    version: options.version ?? "",
    patches: new Set(options.patches),
    retry: options.retry,
    takesState,
    answers: new Map([
      ["child_completed", answer(reader, `result of ${owner}`)],
      ["child_failed", { failed: true, decode: failure }],
    ]),
    call: (args) => build(...args),
    begin(input, state) {
      const args = argumentsOf(input, `arguments of ${owner}`);
      const given = takesState ? [state === undefined ? undefined : fromText(state), ...args] : args;
      const generator = fn(...given);
      if (typeof (generator as Partial<Workflow<R>> | undefined)?.next === "function") return generator;
      throw new DefinitionError(owner, `it returned ${describe(generator)}, no generator`, "write `function*`");
    },
    read,
    encodeResult: (value) => toText(value, `result of ${owner}`),
  };
  return Object.assign(build as (...args: A) => Call<Decoded<R>>, { fn, spec });
}

function requireName(what: string, name: string, fn: unknown): void {
  if (typeof name !== "string" || name === "") {
    throw new DefinitionError(`a ${what}`, `its name is ${describe(name)}`, `write ${what}("name", …)`);
  }
  if (typeof fn !== "function") throw new DefinitionError(`${what} ${name}`, `it is ${describe(fn)}`, "give it a function");
}

/** Arguments as the array of positional ones, with nothing in place of those left out at the end. */
function spellArguments(args: readonly unknown[], owner: string): string {
  let count = args.length;
  while (count > 0 && args[count - 1] === undefined) count--;
  return toText(args.slice(0, count), `arguments of ${owner}`);
}

/** Python also writes arguments by name: they come last, as one object. */
export function argumentsOf(input: string, where: string): unknown[] {
  const data = fromText(input, where);
  if (Array.isArray(data)) return data as unknown[];
  const named = data as { args?: unknown[]; kwargs?: object } | null;
  if (!Array.isArray(named?.args)) throw new PayloadError(where, "an array", describe(data));
  return Object.keys(named.kwargs ?? {}).length > 0 ? [...named.args, named.kwargs] : named.args;
}
