/**
 * A failure as a fact: what an error becomes when it is journaled, and how it comes back.
 *
 * Rule 1: the class's name is text. Nothing that comes from a journal is looked up by its name; an error comes back as itself only when
 * the step names its class in `raises`.
 * Rule 2: messages and traces are cut to a bounded size; a huge one must not make a huge journal.
 */

import { toText, type Json } from "../codec/json.js";
import { Cancelled, ReplayError } from "../errors.js";

const MESSAGE_LIMIT = 4_000;
const TRACEBACK_LIMIT = 8_000;

export type ErrorClass = new (...args: never[]) => Error;

export interface Failure {
  readonly type: string;
  readonly message: string;
  readonly attempts: number;
  readonly traceback: string;
  readonly args: readonly Json[] | undefined;
}

/** What is kept of an error; anything may have been thrown. */
export function failureOf(error: unknown, attempts = 1): Failure {
  const known = error instanceof Error;
  const message = known ? error.message : `${typeof error} was thrown: ${String(error)}`;
  return {
    type: typeOf(error),
    message: message.slice(0, MESSAGE_LIMIT).toWellFormed(),
    attempts,
    traceback: ((known && error.stack) || "").slice(-TRACEBACK_LIMIT).toWellFormed(),
    args: known ? plainArgs(error) : undefined,
  };
}

/** From its journal form; fields of later versions are passed over. */
export function readFailure(data: Json): Failure {
  const { type = "Exception", message = "", attempts = 1, traceback = "", args } = (data ?? {}) as Record<string, Json>;
  const texts = { type: String(type), message: String(message), traceback: String(traceback) };
  return { ...texts, attempts: Number(attempts), args: Array.isArray(args) ? args : undefined };
}

/** The name of an error's class: replay's own have the same in every language. */
export function typeOf(error: unknown): string {
  if (error instanceof ReplayError || error instanceof Cancelled) return `replay.errors.${error.name}`;
  if (!(error instanceof Error)) return "Error";
  return error.name === "Error" ? error.constructor.name : error.name;
}

/** The error as itself, when its class is one of `raises` and takes its recorded arguments back. */
export function revive(type: string, args: Failure["args"], raises: readonly ErrorClass[]): Error | undefined {
  const kind = raises.find((each) => each.name === type || (each.prototype as Error).name === type);
  if (kind === undefined || args === undefined) return undefined;
  try {
    return new kind(...(args as never[]));
  } catch {
    return undefined; // a foreign constructor may not take its own arguments back
  }
}

/** An error may say in `args` what its constructor takes; else it takes its message. */
function plainArgs(error: Error): readonly Json[] | undefined {
  const own = "args" in error && Array.isArray(error.args) ? (error.args as unknown[]) : [error.message];
  try {
    return toText(own).length <= MESSAGE_LIMIT ? (own as Json[]) : undefined;
  } catch {
    return undefined;
  }
}
