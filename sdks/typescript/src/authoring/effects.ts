/** The functions that build effects; the words of the language. Each returns a value: `yield*` it. */

import { toText } from "../codec/json.js";
import { EffectError, describe } from "../errors.js";
import type { Moment, RunInfo } from "../interpreter/ambient.js";
import { Call, Request } from "../model/effects.js";
import type { Branch, ChildHandle, Effect, GatherOptions, OnParentClose, Parts, ResultOf, Spawned, Workflow } from "../model/effects.js";
import { micros, secondsOf, type Span } from "../model/records.js";
import type { Level } from "../worker/logger.js";
import { argumentsOf, readerOf, type Schema } from "./definitions.js";

/** Characters of a name. */
const NAME_LIMIT = 512;
/** The longest span, in seconds, and the last moment, in microseconds: every language counts up to there without loss. */
const LONGEST = 200 * 365 * 86_400;
const LAST_MOMENT = 2 ** 53;

function span(what: string, seconds: number): number {
  if (typeof seconds === "number" && seconds >= 0 && seconds <= LONGEST) return micros(seconds);
  throw new EffectError(`${what} of ${describe(seconds)} s`, "give it 0 seconds or more, and at most 200 years");
}

/** What stores and other programs know something by. */
function named(what: string, name: string): string {
  const fits = typeof name === "string" && name !== "" && name.length <= NAME_LIMIT && !/[\u0000-\u001f]/.test(name) && name.isWellFormed();
  if (!fits) throw new EffectError(`${what} ${describe(name)} is no name`, `use 1 to ${NAME_LIMIT} printable characters`);
  return name;
}

/** An effect that is named like its kind; who calls this says what it answers with. */
function make<K extends keyof Parts>(kind: K, of: Parts[K]): Request<K, never> {
  return new Request(kind, kind, of);
}

// ---- time and messages -----------------------------------------------------------------------------------------------------

/** Wait for a durable timer: seconds, a span, or until a moment; one that has passed fires at once. */
export function sleep(time: number | Span | { readonly until: Date | Moment }): Effect<void> {
  if (typeof time === "object" && "until" in time) {
    const moment = "micros" in time.until ? time.until.micros : time.until.getTime() * 1000;
    if (!(moment <= LAST_MOMENT)) throw new EffectError(`sleep until ${String(time.until)}`, "give it a moment before the year 2255");
    return make("sleep", { until: moment });
  }
  return make("sleep", { span: span("sleep", secondsOf(time)) });
}

export interface SignalOptions<T> {
  /** Checks the message; one that does not fit is refused. */
  readonly schema?: Schema<T>;
  /** Seconds to wait; without it, for ever. */
  readonly timeout?: number;
}

/** The next message of a name, first in, first out; one that came early is kept. */
export function signal<T = any>(name: string, options?: SignalOptions<T>): Effect<T>;
export function signal<T = any, D = T>(
  name: string,
  options: SignalOptions<T> & { readonly timeout: number; readonly default: D },
): Effect<T | D>;
export function signal(name: string, options: SignalOptions<unknown> & { readonly default?: unknown } = {}): Effect<unknown> {
  const fallback = "default" in options ? { value: options.default } : undefined;
  if (fallback && options.timeout === undefined) {
    throw new EffectError(`signal '${name}' has a default and no timeout`, "say after how many seconds it is used");
  }
  const wait = options.timeout === undefined ? undefined : span(`signal '${name}' with a timeout`, options.timeout);
  return new Request("signal", named("signal", name), { reader: readerOf(options.schema), span: wait, fallback });
}

export interface SavepointOptions {
  /** What the workflow is begun again with when the run is recovered from here; see `resumable`. */
  readonly state?: unknown;
  readonly goal?: string;
  readonly hypotheses?: readonly string[];
  readonly questions?: readonly string[];
  readonly decisions?: readonly string[];
  readonly nextStep?: string;
  /** Anything else that is JSON. */
  readonly [note: string]: unknown;
}

/** A named place to fork from; with `state`, also a place to recover from. */
export function savepoint(name: string, { state, nextStep, ...notes }: SavepointOptions = {}): Effect<void> {
  const text = state === undefined ? undefined : toText(state, `state of savepoint '${name}'`);
  const noted = toText({ ...notes, next_step: nextStep }, `notes of savepoint '${name}'`);
  return new Request("savepoint", named("savepoint", name), { state: text, notes: noted }, noted);
}

// ---- branches --------------------------------------------------------------------------------------------------------------

type Branches = readonly Branch<unknown>[];
type Results<B extends Branches, Else = never> = { -readonly [K in keyof B]: ResultOf<B[K]> | Else };

/**
 * Run branches side by side; their results in the order of the branches. The first failure cancels the others, waits until they have
 * cleaned up, and is thrown.
 */
export function gather<const B extends Branches>(
  branches: B,
  options: GatherOptions & { readonly minSuccessful: number; readonly returnErrors: true },
): Effect<Results<B, Error | null>>;
export function gather<const B extends Branches>(
  branches: B,
  options: GatherOptions & { readonly minSuccessful: number },
): Effect<Results<B, null>>;
export function gather<const B extends Branches>(
  branches: B,
  options: GatherOptions & { readonly returnErrors: true },
): Effect<Results<B, Error>>;
export function gather<const B extends Branches>(branches: B, options?: { readonly limit?: number }): Effect<Results<B>>;
export function gather(branches: Branches, options: GatherOptions = {}): Effect<unknown> {
  const { limit, minSuccessful } = options;
  if (limit !== undefined && !(limit >= 1)) throw new EffectError(`gather with limit ${limit}`, "let at least one branch run");
  if (minSuccessful !== undefined && !(minSuccessful >= 1 && minSuccessful <= branches.length)) {
    throw new EffectError(`gather of ${branches.length} branches with minSuccessful ${minSuccessful}`, "ask for 1 up to that many");
  }
  return make("gather", { branches: [...branches], how: options });
}

/** The first branch that ends well, as [index, value]; the others are cancelled and clean up first. */
export function race<const B extends Branches>(branches: B): Effect<[index: number, value: ResultOf<B[number]>]> {
  return make("race", { branches: [...branches] });
}

/** A branch that must end within so many seconds, or `TimedOut` is thrown. */
export function timeout<R>(branch: Effect<R> | Workflow<R>, seconds: number): Effect<R> {
  return make("timeout", { branch, span: span("timeout", seconds) });
}

/** A branch that cancellation does not enter; it is held back until the branch has ended. */
export function shield<R>(branch: Effect<R> | Workflow<R>): Effect<R> {
  return make("shield", { branch });
}

/** Run a branch beside this one; `join` it, or `cancel` it. It ends with the run at the latest. */
export function spawn<R>(branch: Effect<R> | Workflow<R>): Effect<Spawned<R>> {
  return make("spawn", { branch });
}

/** The result of a spawned branch or child; its failure is thrown here. */
export function join<R>(handle: Spawned<R>): Effect<R> {
  return make("join", { handle });
}

/** Cancel a spawned branch or child; `join` it to wait until it has cleaned up. */
export function cancel(handle: Spawned<unknown>, reason = "cancelled"): Effect<void> {
  return make("cancel", { handle, reason });
}

/** Start a child run and go on; `join` its handle for the result. */
export function startChild<R>(
  call: Call<R>,
  options: { readonly id?: string; readonly onParentClose?: OnParentClose } = {},
): Effect<ChildHandle<R>> {
  if (!(call instanceof Call)) throw new EffectError("startChild was given no call of a workflow", "write startChild(order(cart))");
  return make("start_child", { call: call.options(options) });
}

// ---- outputs ---------------------------------------------------------------------------------------------------------------

function output(name: string, target: string, label: string, payload: string): Effect<void> {
  return new Request("output", name, { target, label, payload });
}

/** Send a message to another run, once. */
export function sendSignal(runId: string, name: string, value: unknown = null): Effect<void> {
  return output("send_signal", named("run id", runId), named("signal", name), toText(value, `signal '${name}'`));
}

/** Append to a topic that anyone can read, once. */
export function publish(topic: string, data: unknown): Effect<void> {
  if (named("topic", topic).startsWith("~")) {
    throw new EffectError(`topic '${topic}', which begins with a tilde as those of replay do`, "choose another name");
  }
  return output("publish", topic, "", toText(data, `entry of topic '${topic}'`));
}

/** Set a value that `handle.state()` shows. */
export function setState(key: string, value: unknown): Effect<void> {
  return output("set_state", named("key of setState", key), "", toText(value, `state '${key}'`));
}

/** Change words that the run is found by; an empty word removes a tag. */
export function setTags(tags: Readonly<Record<string, string>>): Effect<void> {
  const words = Object.entries(tags).map(([key, word]) => [named("tag", key), String(word)]);
  return output("set_tags", "", "", toText(Object.fromEntries(words)));
}

/** Leave a note for people, beside the journal. */
export function annotate(text: string, fields: Readonly<Record<string, unknown>> = {}): Effect<void> {
  return output("annotate", "", text, toText(fields));
}

/** A line in the log, once: it is written in the commit of the event that led to it, never again by a replay. */
export function log(message: string, fields: Readonly<Record<string, unknown>> = {}, level: Level = "info"): Effect<void> {
  return output("log", level, message, toText(fields));
}

// ---- what the interpreter knows --------------------------------------------------------------------------------------------

/** The workflow's clock: the moment of the last event. */
export function now(): Effect<Moment> {
  return new Request("ambient", "now", {});
}

/** A number from 0 up to 1, the same in every replay. */
export function random(): Effect<number> {
  return new Request("ambient", "random", {});
}

/** A UUID of version 4, the same in every replay. */
export function uuid(): Effect<string> {
  return new Request("ambient", "uuid", {});
}

/** What the run may know of itself. */
export function info(): Effect<RunInfo> {
  return new Request("ambient", "info", {});
}

/** Whether this run began, or re-entered at a savepoint with state, with code that declares the patch. */
export function patched(name: string): Effect<boolean> {
  return new Request("patched", name, {});
}

/** End this journal and begin a fresh one under the same id; never returns. Unread signals are carried over. */
export function continueAsNew(...next: [Call<unknown>] | unknown[]): Effect<never> {
  return make("continue_as_new", { next: next.length === 1 && next[0] instanceof Call ? next[0] : next });
}

export interface UpdateOptions<T> {
  /** Checks the argument. */
  readonly schema?: Schema<T>;
  /** Called first and must be pure; what it throws refuses the update, which then leaves no trace. */
  readonly validator?: (argument: T) => void;
}

/** Answer updates of a name, from here on, with a function of this workflow; a generator may yield effects. */
export function onUpdate<T = any>(
  name: string,
  handler: (argument: T) => unknown,
  options: UpdateOptions<T> = {},
): Effect<void> {
  return new Request("on_update", named("update", name), { handler, reader: readerOf(options.schema), validator: options.validator });
}

/**
 * Answer queries of a name, from here on, with a pure function over this workflow's variables: it takes what it is asked with, yields
 * nothing, and leaves no trace in the journal.
 */
export function onQuery(name: string, handler: (...args: any[]) => unknown): Effect<void> {
  const answer = (input: string) => handler(...argumentsOf(input, `arguments of query '${name}'`));
  return new Request("on_query", named("query", name), { answer });
}
