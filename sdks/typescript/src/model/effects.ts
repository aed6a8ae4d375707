/**
 * What a workflow can ask for: effects, as values.
 *
 * Rule 1: building an effect runs nothing. It spells its arguments, so that what cannot be durable is refused at the line that wrote it.
 * Rule 2: `yield* effect` is the one door out of a workflow, and gives the result's type. What comes out of that door is an `Ask`.
 * Rule 3: a command is answered by an event, and `answers` says which kinds fit: the table is the whole agreement.
 * Rule 4: four families. *Commands* wait for the world (step, sleep, signal, savepoint, child); *combinators* wait for branches; *pure*
 * effects are answered from what the interpreter knows; *outputs* tell the world something and are answered at once.
 */

import { crc32 } from "node:zlib";
import { fromBytes, type Json } from "../codec/json.js";
import { DefinitionError, PayloadError, describe, general } from "../errors.js";
import type { ErrorClass } from "./failure.js";
import { SECOND } from "./records.js";
import { checkRetry, type Retry } from "./retry.js";

/** Whether it is a failure, and how its bytes become a value or an error. */
export interface Answer {
  readonly failed: boolean;
  readonly decode: (payload: Uint8Array) => unknown;
}
export type Answers = ReadonlyMap<string, Answer>;

/** How a decoded value becomes what the author's type says; what it throws refuses the value. */
export type Reader<T> = (value: Json) => T;

/** Sent into a generator that waits in `yield*`: it stays where it is, and the line where it stands is found out. */
class Probe {
  stack = "";
}

/** An effect on its way out of a workflow: `yield* effect` yields this once, and ends with the answer. */
export class Ask {
  #asked = false;

  constructor(readonly effect: AnyEffect) {}

  next(answer?: unknown): IteratorResult<Ask, any> {
    if (!this.#asked) {
      this.#asked = true;
      return { done: false, value: this };
    }
    if (answer instanceof Probe) {
      const limit = Error.stackTraceLimit;
      Error.stackTraceLimit = 2; // this function, and the author's
      answer.stack = new Error().stack ?? "";
      Error.stackTraceLimit = limit;
      return { done: false, value: this };
    }
    return { done: true, value: answer };
  }

  throw(error: unknown): never {
    throw error;
  }
}

/** A generator of effects: the body of a workflow, or a helper of one. */
export type Workflow<R> = Generator<Ask, R, any>;
/** What a combinator runs side by side: an effect, or a generator of effects. */
export type Branch<R> = Effect<R> | Workflow<R>;
/** What a branch answers with. */
export type ResultOf<B> = B extends Effect<infer R> ? R : B extends Generator<unknown, infer R, any> ? R : never;

/** A request for one durable result of type `R`. */
export abstract class Effect<out R> {
  /** Only for the type checker: effects of different results are different types. */
  declare readonly result?: R;
  abstract readonly kind: string;
  #check: number | undefined;

  constructor(
    readonly name: string,
    /** By what kinds of events it is answered. */
    readonly answers: Answers,
    /** The text that replay compares, if any. */
    readonly compared?: string,
  ) {}

  /** CRC-32 of what is compared, or 0. */
  get check(): number {
    return (this.#check ??= this.compared === undefined ? 0 : crc32(this.compared));
  }

  [Symbol.iterator](): Iterator<Ask, R, any> {
    return new Ask(this as unknown as AnyEffect);
  }

  toString(): string {
    return `${this.kind} ${this.name}`;
  }
}

// ---- steps and workflows ---------------------------------------------------------------------------------------------------

/** How a step is done: policy, which may change while a run is open; identity may not. */
export interface StepOptions {
  /** When to try again; default: never. */
  readonly retry?: Retry;
  /** Seconds that one attempt may take. */
  readonly timeout?: number;
  /** Seconds that one attempt may go without a heartbeat. */
  readonly heartbeat?: number;
  /** The task queue whose workers do it; default: here. */
  readonly queue?: string;
  /** Never begin it twice: `StepInterrupted` when a crash leaves its end unknown. */
  readonly atMostOnce?: boolean;
  /** Whether replay compares a checksum of the arguments; default true. */
  readonly compareArguments?: boolean;
  /** Whether cancelling abandons it or waits for its end; default "abandon". */
  readonly onCancel?: "abandon" | "wait";
  /** Classes of errors that come back as themselves. */
  readonly raises?: readonly ErrorClass[];
  /** A name of its own for the idempotency key, and for the run of a step on another queue. */
  readonly id?: string;
  /** On another queue: whose share of it the step takes, such as a customer's; default: that of its run. */
  readonly key?: string;
}

/** What an interpreter and a worker need to know of a step. */
export interface StepSpec {
  readonly name: string;
  readonly answers: Answers;
  readonly defaults: StepOptions;
  /** Call the author's function with the arguments that a text holds. */
  invoke(input: string): unknown;
  /** The result's text. */
  encodeResult(value: unknown): string;
}

/** Do something outside, at least once, and remember the answer. */
export class Step<R> extends Effect<R> {
  readonly kind = "step";

  constructor(readonly spec: StepSpec, readonly payload: string, readonly how: StepOptions) {
    super(spec.name, spec.answers, how.compareArguments === false ? undefined : payload);
  }

  /** The same call, done otherwise; what is left out stays as the step declares it. */
  options(changed: Pick<StepOptions, "retry" | "timeout" | "heartbeat" | "queue" | "onCancel" | "id" | "key">): Step<R> {
    return new Step(this.spec, this.payload, checkStep(`step ${this.name}`, { ...this.how, ...changed }));
  }

  override toString(): string {
    return `step ${this.name}${shown(this.payload)}`;
  }
}

export type OnParentClose = "cancel" | "abandon" | "wait";

/** How a run is started. */
export interface RunOptions {
  /** Its id; for a child by default its parent's and its command's. */
  readonly id?: string;
  /** The task queue whose workers drive it. */
  readonly queue?: string;
  /** Higher first among runs that wait in one queue. */
  readonly priority?: number;
  /** Whose share of the queue it takes, such as a customer's; for a child by default its parent's. */
  readonly key?: string;
  /** Seconds before it may begin. */
  readonly delay?: number;
  /** Seconds that it may take in all. */
  readonly deadline?: number;
  /** Words to find it by. */
  readonly tags?: Readonly<Record<string, string>>;
  /** What becomes of a child when its parent ends; default "cancel". */
  readonly onParentClose?: OnParentClose;
}

/** What an interpreter and a worker need to know of a workflow. */
export interface WorkflowSpec {
  readonly name: string;
  readonly version: string;
  readonly patches: ReadonlySet<string>;
  readonly answers: Answers;
  /** When a failed run is begun again; undefined: never. */
  readonly retry: Retry | undefined;
  /** Whether it can be begun again at a savepoint with state. */
  readonly takesState: boolean;
  /** A call of it with other arguments. */
  call(args: readonly unknown[]): Call<unknown>;
  /** A fresh generator over the input's text, begun with a state's text where there is one. */
  begin(input: string, state?: string): Workflow<unknown>;
  /** The result from its value. */
  read(value: Json): unknown;
  /** The result's text. */
  encodeResult(value: unknown): string;
}

/** A workflow with its arguments: something to start, and, yielded in another workflow, a child run. */
export class Call<R> extends Effect<R> {
  readonly kind = "child";

  constructor(readonly spec: WorkflowSpec, readonly payload: string, readonly how: RunOptions) {
    super(spec.name, spec.answers, payload);
  }

  /** The same call, started otherwise; what is left out stays as it is. */
  options(changed: RunOptions): Call<R> {
    const how = { ...this.how, ...changed };
    for (const what of ["delay", "deadline"] as const) {
      const seconds = how[what] ?? 0;
      if (seconds >= 0 && seconds < Infinity) continue;
      const problem = `${what} must be 0 seconds or more, got ${describe(seconds)}`;
      throw new DefinitionError(`workflow ${this.name}`, problem, "leave it out for none");
    }
    return new Call(this.spec, this.payload, how);
  }

  override toString(): string {
    return `child ${this.name}${shown(this.payload)}`;
  }
}

// ---- all other effects -----------------------------------------------------------------------------------------------------

export interface GatherOptions {
  /** How many branches run at a time. */
  readonly limit?: number;
  /** Enough results: the rest is cancelled, and what did not succeed is null. */
  readonly minSuccessful?: number;
  /** Put failures in their places instead of throwing the first. */
  readonly returnErrors?: boolean;
}

/** A fiber that runs on beside its maker; `join` it, or `cancel` it. */
export class Spawned<out R> {
  declare readonly result?: R;

  constructor(
    readonly id: string,
    /** @internal The interpreter's own. */
    readonly fiber: unknown,
  ) {}
}

/** A child run that goes on beside its parent; `runId` is its id, `join` waits for its result. */
export class ChildHandle<out R> extends Spawned<R> {
  constructor(id: string, fiber: unknown, readonly runId: string) {
    super(id, fiber);
  }
}

/** What effects of each kind are made of. */
export interface Parts {
  /** A span of microseconds from the workflow's clock, or a moment. */
  sleep: { readonly span?: number; readonly until?: number };
  signal: { readonly reader: Reader<unknown>; readonly span: number | undefined; readonly fallback?: { readonly value: unknown } };
  /** The texts of state and notes. */
  savepoint: { readonly state: string | undefined; readonly notes: string };
  gather: { readonly branches: readonly Branch<unknown>[]; readonly how: GatherOptions };
  race: { readonly branches: readonly Branch<unknown>[] };
  timeout: { readonly branch: Branch<unknown>; readonly span: number };
  shield: { readonly branch: Branch<unknown> };
  spawn: { readonly branch: Branch<unknown> };
  start_child: { readonly call: Call<unknown> };
  join: { readonly handle: Spawned<unknown> };
  cancel: { readonly handle: Spawned<unknown>; readonly reason: string };
  /** `now`, `random`, `uuid` or `info`, by name. */
  ambient: object;
  patched: object;
  on_update: {
    readonly handler: (argument: any) => unknown;
    readonly reader: Reader<unknown>;
    readonly validator?: (argument: any) => void;
  };
  /** From the arguments' text to the value. */
  on_query: { readonly answer: (input: string) => unknown };
  continue_as_new: { readonly next: Call<unknown> | readonly unknown[] };
  /** `send_signal`, `publish`, … by name. Target: run, topic, key, level or message id; label: a signal's name, a line's text. */
  output: { readonly target: string; readonly label: string; readonly payload: string };
}

const EMPTY: Answers = new Map();
const DONE: Answer = { failed: false, decode: () => undefined };
const ANSWERS: { readonly [K in keyof Parts]?: Answers } = {
  sleep: new Map([["timer_fired", DONE]]),
  savepoint: new Map([["savepoint", DONE]]),
};

/** An effect of one of these kinds. */
export class Request<K extends keyof Parts, R = unknown> extends Effect<R> {
  constructor(readonly kind: K, name: string, readonly of: Parts[K], compared?: string) {
    super(name, ANSWERS[kind] ?? EMPTY, compared);
  }

  override toString(): string {
    if (this.kind !== "sleep") return super.toString();
    const { span } = this.of as Parts["sleep"];
    return span === undefined ? "sleep until a moment" : `sleep ${general(span / SECOND)} s`;
  }
}

export type AnyEffect = Step<unknown> | Call<unknown> | { [K in keyof Parts]: Request<K> }[keyof Parts];
/** Effects that the world answers. */
export type Asked = Step<unknown> | Call<unknown> | Request<"sleep"> | Request<"signal"> | Request<"savepoint">;
export type Output = Request<"output">;

// ---- helpers ---------------------------------------------------------------------------------------------------------------

/** `file:line` where a generator waits, as the author wrote it; empty when it does not wait in a `yield*`. */
export function standsAt(generator: Workflow<unknown>): string {
  const probe = new Probe();
  generator.next(probe);
  const [, , frame = ""] = probe.stack.split("\n"); // the error, this file, and then the author's code
  return /\(?([^\s()]+:\d+):\d+\)?$/.exec(frame)?.[1]?.replace(/^file:\/\//, "") ?? "";
}

/** A value through the author's reader; anything it throws becomes a PayloadError. */
export function readBy<T>(reader: Reader<T>, value: Json, where: string): T {
  try {
    return reader(value);
  } catch (error) {
    if (error instanceof PayloadError) throw error;
    throw new PayloadError(where, error instanceof Error ? error.message : "what its reader takes", describe(value));
  }
}

/** An answer of a kind: decoded by a reader. */
export function answer(reader: Reader<unknown>, where: string): Answer {
  return { failed: false, decode: (payload) => readBy(reader, fromBytes(payload, where), where) };
}

/** Options that can work, or an error that names their owner. */
export function checkStep(owner: string, options: StepOptions): StepOptions {
  if (options.retry) checkRetry(owner, options.retry);
  for (const what of ["timeout", "heartbeat"] as const) {
    const seconds = options[what] ?? 1;
    if (seconds > 0 && seconds < Infinity) continue;
    throw new DefinitionError(owner, `${what} must be more than 0 seconds, got ${describe(seconds)}`, "leave it out for no limit");
  }
  if (options.queue === "") throw new DefinitionError(owner, "queue must be a name, got an empty text", "leave it out for here");
  if (options.atMostOnce && (options.retry?.maxAttempts ?? 3) > 1 && options.retry) {
    throw new DefinitionError(owner, "it is atMostOnce and has a retry policy", "choose one of them");
  }
  return options;
}

function shown(payload: string, limit = 120): string {
  const text = payload.startsWith("[") && payload.endsWith("]") ? `(${payload.slice(1, -1)})` : payload;
  return Array.from(text).length > limit ? `${Array.from(text).slice(0, limit).join("")}…)` : text;
}
